"""A file is either whole or not there, and one that was harmed is never used."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from decoct.core import atomic, storage
from decoct.core.atomic import new_file
from decoct.core.errors import DecoctError
from decoct.core.storage import (
    digest,
    is_valid,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
)

TENSORS = {
    "weights": torch.arange(12, dtype=torch.float32).view(3, 4) / 7,
    "labels": torch.tensor([3, 1, 2]),
    "pixels": torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2),
    "half": torch.tensor([0.5, -1.5], dtype=torch.float16),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "nothing": torch.zeros(0, 4),
}
META: dict[str, Any] = {
    "name": "naïve ± 'quotes' \"and\" \\ more",
    "rates": [0.1, 1e-30, 3],
    "deep": {"a": None},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "down" / "a.safetensors"
    save_tensors(path, TENSORS, kind="test", meta=META)
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "down" / "a.json"
    save_json(path, META, kind="test")
    return path


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# Round trips


def test_tensors_and_what_is_said_of_them_come_back(file: Path) -> None:
    tensors, meta = load_tensors(file, kind="test")
    assert_same(tensors, TENSORS)
    assert meta == META
    assert is_valid(file, kind="test")
    assert left_over(file.parent) == ["a.safetensors"]


def test_json_comes_back(text: Path) -> None:
    assert load_json(text, kind="test") == META
    assert is_valid(text, kind="test")
    assert left_over(text.parent) == ["a.json"]


def test_tensors_that_are_views_come_back(tmp_path: Path) -> None:
    base = torch.arange(20.0).view(4, 5)
    views = {
        "turned": base.T,
        "every other": base[:, ::2],
        "itself": base,
        "itself again": base,
        "part": base[1:3],
        "spread": base[0].expand(3, 5),
    }
    save_tensors(tmp_path / "v.safetensors", views, kind="test", meta={})
    assert_same(load_tensors(tmp_path / "v.safetensors", kind="test")[0], views)


def test_dataclasses_tuples_and_paths_become_plain(tmp_path: Path) -> None:
    @dataclass
    class Setting:
        size: tuple[int, int] = (3, 4)

    save_json(tmp_path / "a.json", {"s": Setting(), "p": tmp_path}, kind="test")
    assert load_json(tmp_path / "a.json", kind="test") == {
        "s": {"size": [3, 4]},
        "p": str(tmp_path),
    }


def test_written_twice_the_bytes_are_the_same(file: Path, text: Path, tmp_path: Path) -> None:
    backwards = dict(reversed(TENSORS.items()))
    save_tensors(
        tmp_path / "b.safetensors", backwards, kind="test", meta=dict(reversed(META.items()))
    )
    assert (tmp_path / "b.safetensors").read_bytes() == file.read_bytes()
    save_json(tmp_path / "b.json", META, kind="test")
    assert (tmp_path / "b.json").read_bytes() == text.read_bytes()


def test_writing_again_replaces(file: Path) -> None:
    save_tensors(file, {"x": torch.ones(2)}, kind="test", meta={})
    assert load_tensors(file, kind="test")[0].keys() == {"x"}


# Harm


def outcome(path: Path) -> Any:
    """The loaded contents, or None if loading is refused with a sentence."""
    try:
        return (
            load_json(path, kind="test")
            if path.suffix == ".json"
            else load_tensors(path, kind="test")
        )
    except DecoctError as error:
        assert str(path) in str(error)
        return None


@pytest.mark.parametrize("which", ["file", "text"])
def test_cut_short_anywhere_is_refused(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    data = path.read_bytes()
    for length in range(0, len(data) - 1, 7):  # the last byte of the JSON is a line feed
        path.write_bytes(data[:length])
        assert outcome(path) is None, length
        assert not is_valid(path, kind="test")


@pytest.mark.parametrize("which", ["file", "text"])
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(
    which: str, request: pytest.FixtureRequest, data: st.DataObject
) -> None:
    path: Path = request.getfixturevalue(which)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    harmed = bytearray(whole)
    harmed[place] ^= 1 << bit
    path.write_bytes(harmed)
    try:
        got = outcome(path)
    finally:
        path.write_bytes(whole)
    if got is not None and which == "text":
        assert got == META
    elif got is not None:
        assert_same(got[0], TENSORS)
        assert got[1] == META


def test_a_flipped_bit_in_any_number_is_noticed(file: Path) -> None:
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")  # where safetensors' header ends
    for place in range(start, len(data)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(DecoctError, match=r"damaged.*delete it and make it again"):
            load_tensors(file, kind="test")


def test_altered_metadata_is_noticed(file: Path, text: Path) -> None:
    for path in (file, text):
        data = path.read_bytes()
        assert b"1e-30" in data
        path.write_bytes(data.replace(b"1e-30", b"2e-30"))
        with pytest.raises(DecoctError, match="damaged"):
            outcome_or_error(path)


def outcome_or_error(path: Path, kind: str = "test") -> Any:
    return load_json(path, kind=kind) if path.suffix == ".json" else load_tensors(path, kind=kind)


@pytest.mark.parametrize("which", ["file", "text"])
def test_another_kind_is_refused_by_name(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    with pytest.raises(DecoctError, match=r"'test'.*'targets' is needed"):
        outcome_or_error(path, "targets")
    assert not is_valid(path, kind="targets")


@pytest.mark.parametrize("which", ["file", "text"])
def test_another_format_version_is_refused(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = request.getfixturevalue(which)
    monkeypatch.setattr(storage, "_READABLE", (1,))
    with pytest.raises(DecoctError, match="format version 3; this decoct reads"):
        outcome_or_error(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
def test_missing_empty_and_foreign_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(DecoctError, match="does not exist"):
        outcome_or_error(path)
    path.write_bytes(b"")
    with pytest.raises(DecoctError, match=name):
        outcome_or_error(path)
    path.write_bytes(b"\xff\xfe\x00 not what it says")
    with pytest.raises(DecoctError, match=name):
        outcome_or_error(path)


@pytest.mark.parametrize("content", ["[]", "3", '"x"', "{}", '{"meta": {}}'])
def test_json_that_is_not_ours_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(DecoctError, match=r"a\.json"):
        load_json(path, kind="test")


@pytest.mark.parametrize("header", [None, "", "not json", "[]", "3", "{}", '{"kind": "test"}'])
def test_safetensors_that_are_not_ours_are_refused(header: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    metadata = None if header is None else {"decoct": header}
    safetensors.torch.save_file({"x": torch.ones(2)}, path, metadata=metadata)
    with pytest.raises(DecoctError, match=r"a\.safetensors"):
        load_tensors(path, kind="test")


# Writing that fails


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_sentence_and_keeps_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(tensors: Any, name: Path, **_: Any) -> None:
        Path(name).write_bytes(b"half")
        no_space()

    monkeypatch.setattr(safetensors.torch, "save_file", half_written)
    with pytest.raises(DecoctError, match=r"no space left on the device.*a\.safetensors"):
        save_tensors(file, {"x": torch.ones(2)}, kind="test", meta={})
    assert left_over(file.parent) == ["a.safetensors"]
    assert_same(load_tensors(file, kind="test")[0], TENSORS)


def test_a_full_disk_as_safetensors_puts_it_is_the_same_sentence(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise safetensors.SafetensorError("Error while serializing: No space left (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", refuse)
    with pytest.raises(DecoctError, match="no space left"):
        save_tensors(file, {"x": torch.ones(2)}, kind="test", meta={})


def test_a_full_disk_while_writing_text_is_a_sentence(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", no_space)
        with pytest.raises(DecoctError, match="no space left"):
            save_json(text, {}, kind="test")
    assert left_over(text.parent) == ["a.json"]
    assert load_json(text, kind="test") == META


@pytest.mark.parametrize("step", ["fsync", "replace", "mkdir"])
def test_a_disk_that_fills_up_at_a_later_step_is_a_sentence(
    step: str, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync" if step == "fsync" else f"pathlib.Path.{step}", no_space)
        with pytest.raises(DecoctError, match="no space left"):
            save_json(text, {}, kind="test")
    assert left_over(text.parent) == ["a.json"]
    assert load_json(text, kind="test") == META


def test_any_failure_inside_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert left_over(tmp_path) == []


def test_until_the_end_the_old_file_stands(text: Path) -> None:
    before = text.read_bytes()
    with new_file(text) as temporary:
        assert temporary.parent == text.parent  # so that moving it is atomic
        temporary.write_text("new")
        assert text.read_bytes() == before
    assert text.read_text() == "new"


@pytest.mark.parametrize("what", ["link", "dangling", "pipe", "folder"])
def test_what_is_no_file_is_not_replaced(what: str, tmp_path: Path) -> None:
    """A device is like a pipe: as root, replacing one would break the machine."""
    place, other = tmp_path / "place", tmp_path / "other"
    if what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.symlink_to(other)
        if what == "link":
            other.write_text("mine")
    before = place.lstat()
    with pytest.raises(DecoctError, match=r"place is a (link|pipe|folder).* name another file"):
        atomic.write_text(place, "ours")
    assert place.lstat() == before
    assert not other.exists() or other.read_text() == "mine"


def test_no_two_writers_share_a_temporary_name(tmp_path: Path) -> None:
    """Not even those that have the same process number, in two containers."""
    with new_file(tmp_path / "a") as one, new_file(tmp_path / "a") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"
    assert left_over(tmp_path) == ["a"]


# Digests

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(plain, plain)
def test_digests_tell_values_apart(a: Any, b: Any) -> None:
    # repr tells 1 from 1.0 and True, which JSON does as well.
    if repr(a) == repr(b):
        assert digest(a) == digest(b)
    elif a != b:
        assert digest(a) != digest(b)


def test_digests_do_not_depend_on_the_order_of_keys_or_the_layout_of_tensors() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    matrix = torch.arange(6.0).view(2, 3)
    assert digest(matrix.T) == digest(matrix.T.contiguous())


def test_digests_see_shape_type_and_every_value() -> None:
    tensor = torch.zeros(2, 6)
    others = [torch.zeros(6, 2), torch.zeros(2, 6, dtype=torch.int32), torch.eye(6)[:2] / 10]
    assert len({digest(t) for t in (tensor, *others)}) == 4
    assert digest("a", "b") != digest("ab")
