"""`Task`: labelled train and test sets, and which labels a probe may see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.tasks import Task, labelled_indices, load_task

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


def _images(labels: list[int] | None) -> Images:
    return Images.from_array(PIXELS[: len(labels or PIXELS)], labels=labels)


def _folder(root: Path, part: str, classes: str) -> None:
    for name in classes:
        (root / part / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(PIXELS[i]).save(root / part / name / f"{i}.png")


def test_from_npz(tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    parts = {"train_images": PIXELS, "train_labels": labels, "test_images": PIXELS[:6]}
    np.savez(tmp_path / "three.npz", **parts, test_labels=labels[:6], class_names=["a", "b", "c"])
    task = load_task(str(tmp_path / "three.npz"), size=8)
    assert (task.name, task.classes, task.class_name(2)) == ("three", 3, "c")
    assert (len(task.train), len(task.test)) == (12, 6)
    np.savez(tmp_path / "half.npz", **parts)
    with pytest.raises(DecoctError, match="is no task: it lacks test_labels"):
        load_task(str(tmp_path / "half.npz"))


def test_from_folders_whose_test_lacks_a_class(tmp_path: Path) -> None:
    _folder(tmp_path, "train", "abc")
    _folder(tmp_path, "test", "bc")
    task = load_task(str(tmp_path), size=8)
    assert task.test_labels.tolist() == [1, 1, 2, 2]  # numbered as the training folder's


def test_folders_with_a_class_unknown_in_training(tmp_path: Path) -> None:
    _folder(tmp_path, "train", "ab")
    _folder(tmp_path, "test", "abz")
    with pytest.raises(DecoctError, match="test labels unknown in training: z"):
        load_task(str(tmp_path), size=8)


def test_a_source_without_parts_is_no_task(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    _images([0, 1] * 6).save(tmp_path / "images.safetensors")
    for source in (tmp_path / "a.npy", tmp_path / "images.safetensors"):
        with pytest.raises(DecoctError, match="is no task: it lacks a train and a test part"):
            load_task(str(source))
    Image.fromarray(PIXELS[0]).save(tmp_path / "loose.png")
    with pytest.raises(DecoctError, match="is no task: it lacks labels; give every class a sub-"):
        load_task(str(tmp_path))
    with pytest.raises(DecoctError, match="does not exist"):
        load_task(str(tmp_path / "nowhere.npz"))


def test_emoji_subgroups_are_large_enough_to_probe() -> None:
    task = load_task("emoji-subgroups")
    counts = task.train_labels.bincount()
    assert int(counts.min()) >= 40
    assert len(counts) == task.classes == len(task.train.class_names)


@pytest.mark.parametrize(
    "train, test, sentence",
    [
        ([0, 1, 0], None, "the test images have no labels"),
        (None, [0, 1], "the training images have no labels"),
        ([0, 1, 0], [0, 2], "unknown in training: 2"),
        ([0, 0, 0], [0, 0], "a single class"),
        ([-1, 0, 1], [0, 1], "some are negative"),
    ],
)
def test_what_is_no_task(train: list[int] | None, test: list[int] | None, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        Task(name="t", train=_images(train), test=_images(test))


def test_fractions_are_of_each_class(tiny_task: Task) -> None:
    index = labelled_indices(tiny_task, fraction=0.2, seed=0)
    assert tiny_task.train_labels[index].bincount().tolist() == [2, 4, 6]
    assert torch.equal(index, index.sort().values)
    per_class = labelled_indices(tiny_task, per_class=3, seed=0)
    assert tiny_task.train_labels[per_class].bincount().tolist() == [3, 3, 3]
    assert len(labelled_indices(tiny_task, fraction=1.0, seed=0)) == len(tiny_task.train)
    few = labelled_indices(tiny_task, fraction=0.01, seed=0)
    assert tiny_task.train_labels[few].bincount().tolist() == [1, 1, 1]  # at least one


def test_draws_depend_on_seed_draw_and_task_alone(tiny_task: Task) -> None:
    def drawn(task: Task = tiny_task, seed: int = 0, draw: int = 0) -> list[int]:
        return labelled_indices(task, fraction=0.5, seed=seed, draw=draw).tolist()

    assert drawn() == drawn()
    assert len({tuple(drawn(seed=s, draw=d)) for s in range(2) for d in range(2)}) == 4
    assert drawn(replace(tiny_task, name="other")) != drawn()


def test_a_class_without_enough_labels_is_named(tiny_task: Task) -> None:
    with pytest.raises(DecoctError, match=r"class .* has 10 training images"):
        labelled_indices(tiny_task, seed=0, per_class=11)


@pytest.mark.parametrize("how", [{}, {"fraction": 0.0}, {"fraction": 1.5}, {"per_class": 0}])
def test_impossible_choices(tiny_task: Task, how: dict[str, float]) -> None:
    with pytest.raises(DecoctError):
        labelled_indices(tiny_task, seed=0, **how)  # type: ignore[arg-type]
