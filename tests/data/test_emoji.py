"""Tests of the emoji pictures that ship with the package."""

from importlib.resources import files

import numpy as np
import pytest

from decoct.data.emoji import EmojiArrays, load_emoji_arrays


@pytest.fixture(scope="module")
def train() -> EmojiArrays:
    return load_emoji_arrays()


@pytest.fixture(scope="module")
def held_out() -> EmojiArrays:
    return load_emoji_arrays("test")


@pytest.fixture(scope="module")
def everything() -> EmojiArrays:
    return load_emoji_arrays("all")


@pytest.mark.parametrize("split", ["train", "held_out", "everything"])
def test_shapes_and_types(split: str, request: pytest.FixtureRequest) -> None:
    data: EmojiArrays = request.getfixturevalue(split)
    n = len(data.names)
    assert data.images.shape == (n, 32, 32, 3)
    assert data.images.dtype == np.uint8
    assert data.groups.shape == data.subgroups.shape == (n,)
    assert data.groups.dtype == data.subgroups.dtype == np.int64
    assert len(data.vendors) == len(data.code_points) == n


def test_splits_make_up_the_whole(
    train: EmojiArrays, held_out: EmojiArrays, everything: EmojiArrays
) -> None:
    assert len(train.names) + len(held_out.names) == len(everything.names)
    share = len(held_out.names) / len(everything.names)
    assert 0.2 < share < 0.3


def test_an_emoji_is_on_one_side_with_both_vendors(
    train: EmojiArrays, held_out: EmojiArrays, everything: EmojiArrays
) -> None:
    assert not set(train.code_points) & set(held_out.code_points)
    pictures = zip(train.code_points, train.vendors, strict=True)
    fluent = [code for code, vendor in pictures if vendor == "fluent"]
    assert len(set(train.code_points)) < len(fluent) + 500  # so most of them have both pictures
    pairs = set(zip(everything.vendors, everything.code_points, strict=True))
    assert len(pairs) == len(everything.names)


def test_no_exact_duplicates(everything: EmojiArrays) -> None:
    assert len({image.tobytes() for image in everything.images}) == len(everything.images)


def test_labels(everything: EmojiArrays, train: EmojiArrays) -> None:
    assert len(everything.group_names) == 9
    assert len(everything.subgroup_names) == 98
    assert train.group_names == everything.group_names
    assert train.subgroup_names == everything.subgroup_names
    assert set(everything.groups.tolist()) == set(range(9))
    assert set(everything.subgroups.tolist()) == set(range(98))
    assert set(everything.vendors) == {"noto", "fluent"}


def test_a_subgroup_lies_in_one_group(everything: EmojiArrays) -> None:
    pairs = set(zip(everything.subgroups.tolist(), everything.groups.tolist(), strict=True))
    assert len(pairs) == 98


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_group_has_pictures_in_both_splits(
    split: str, request: pytest.FixtureRequest
) -> None:
    data: EmojiArrays = request.getfixturevalue(split)
    assert np.bincount(data.groups, minlength=9).min() >= 40


def test_pictures_are_where_the_labels_say(everything: EmojiArrays) -> None:
    circles = {"red circle": (255, 0, 0), "green circle": (0, 255, 0), "blue circle": (0, 0, 255)}
    for image, name in zip(everything.images, everything.names, strict=True):
        if name in circles:
            assert image[16, 16].argmax() == np.argmax(circles[name])
            assert (image[0, 0] == 255).all()


def test_pictures_are_not_blank(everything: EmojiArrays) -> None:
    ink = (everything.images < 230).any(axis=3).mean(axis=(1, 2))
    assert ink.min() > 0.02


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        load_emoji_arrays("validation")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["NOTICE.md", "LICENSE-noto.txt", "LICENSE-fluent.txt"])
def test_notices_ship_with_the_pictures(name: str) -> None:
    assert len((files("decoct.data.emoji") / name).read_text(encoding="utf-8")) > 500
