"""What cannot be read is not damaged: nothing is made again, and nothing is lost."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from decoct.core import checkpoint, on_disk, storage
from decoct.core.errors import DecoctError, DivergedError, UnreadableError
from decoct.run.folder import StageFolders


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    storage.save_tensors(tmp_path / "a.safetensors", {"x": torch.ones(3)}, kind="thing", meta={})
    return tmp_path / "a.safetensors"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    storage.save_json(tmp_path / "a.json", {"x": 1}, kind="thing")
    return tmp_path / "a.json"


def fail_with(patch: pytest.MonkeyPatch, number: int) -> None:
    """Every file fails to open."""

    def fail(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(number, os.strerror(number))

    for way in ("open", "read_text"):
        patch.setattr(Path, way, fail)


@pytest.mark.parametrize("which", ["tensors", "text"])
def test_a_failing_disk_is_not_damage(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = request.getfixturevalue(which)
    fail_with(monkeypatch, errno.EIO)
    with pytest.raises(UnreadableError, match=r"cannot be read \(Input/output error\)"):
        storage.is_valid(path, kind="thing")


def test_torch_that_cannot_map_a_file_is_not_damage(
    tensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"unable to open file <{tensors}> in read-only mode: Input/output error")

    monkeypatch.setattr(safetensors.torch, "load_file", fail)
    with pytest.raises(UnreadableError, match="cannot be read"):
        storage.is_valid(tensors, kind="thing")


def test_a_disk_that_fails_among_the_images_is_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    pixels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    storage.save_tensors(tmp_path / "a.safetensors", {"x": pixels}, kind="thing", meta={})
    monkeypatch.setattr(on_disk, "_IN_MEMORY", 1)
    monkeypatch.setattr(on_disk.DiskTensor, "_read", fail)
    with pytest.raises(UnreadableError, match=r"cannot be read \(Input/output error\)"):
        storage.is_valid(tmp_path / "a.safetensors", kind="thing")


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_not_waited_for(name: str, make: Any, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(UnreadableError, match="is not a file"):
        storage.is_valid(tmp_path / name, kind="thing")


def test_a_stage_that_cannot_be_read_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = StageFolders(tmp_path)

    def make(path: Path) -> None:
        storage.save_tensors(path, {"x": torch.ones(3)}, kind="thing", meta={})

    arguments: dict[str, Any] = {"file": "a.safetensors", "kind": "thing", "make": make}
    path = folders.artefact("label", "key", **arguments)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fail_with(patch, errno.EACCES)
        with pytest.raises(UnreadableError, match="Permission denied"):
            folders.artefact("label", "key", **arguments)
    assert path.read_bytes() == before
    assert folders.artefact("label", "key", **arguments) == path


def test_a_checkpoint_that_cannot_be_read_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, {"x": torch.ones(3)}, meta={})
    with monkeypatch.context() as patch:
        fail_with(patch, errno.EACCES)
        with pytest.raises(UnreadableError):
            checkpoint.load(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert checkpoint.load(path) is None  # damaged: start afresh


@pytest.mark.parametrize("which", ["tensors", "text"])
def test_others_may_read_what_the_users_mask_allows(
    which: str, request: pytest.FixtureRequest
) -> None:
    mask = os.umask(0)
    os.umask(mask)
    mode = stat.S_IMODE(request.getfixturevalue(which).stat().st_mode)
    assert mode == 0o666 & ~mask


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_not_kept(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"whole": torch.arange(3), "fine": torch.ones(3), "weights": torch.tensor([1.0, bad])}
    with pytest.raises(DivergedError, match="thing: weights holds numbers that are not finite"):
        storage.save_tensors(path, tensors, kind="thing", meta={})
    assert not path.exists()
    with pytest.raises(DecoctError, match="does not exist"):
        storage.load_tensors(path, kind="thing")
