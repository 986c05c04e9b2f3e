"""Sources too large for memory: read piece by piece into a file, to the same images."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from decoct.core.errors import DecoctError
from decoct.core.on_disk import DiskTensor
from decoct.data.images import Images
from decoct.data.sources import count_images, load_images

DRAWS = np.random.default_rng(0)
BYTES = DRAWS.integers(0, 256, (25, 12, 12, 3), dtype=np.uint8)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set is too large for memory, and a piece of it two or three pictures."""
    monkeypatch.setattr("decoct.core.on_disk._IN_MEMORY", 0)
    for module in ("decoct.core.on_disk", "decoct.data.sources"):
        monkeypatch.setattr(f"{module}.CHUNK", 1000)


def save_npy(folder: Path) -> str:
    np.save(folder / "a.npy", BYTES)
    return "a.npy"


def save_floats(folder: Path) -> str:
    np.save(folder / "a.npy", np.moveaxis(BYTES, 3, 1) / 255)
    return "a.npy"


def save_grey(folder: Path) -> str:
    np.save(folder / "a.npy", BYTES[..., 0])
    return "a.npy"


def save_npz(folder: Path) -> str:
    np.savez(folder / "a.npz", images=BYTES, labels=np.arange(25) % 3)
    return "a.npz"


def save_pictures(folder: Path) -> str:
    for i, pixels in enumerate(BYTES):
        (folder / "mine" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "mine" / "abc"[i % 3] / f"{i}.png")
    (folder / "mine" / "a" / "broken.png").write_bytes(b"nonsense")
    return "mine"


def save_idx(folder: Path) -> str:
    for name, array in (("images-idx3", BYTES[..., 0]), ("labels-idx1", np.arange(25) % 4)):
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        data = head + array.astype(np.uint8).tobytes()
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(data))
    return ""


def save_ours(folder: Path) -> str:
    Images.from_array(BYTES, labels=range(25)).save(folder / "ours.safetensors")
    return "ours.safetensors"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [12, 8])
@pytest.mark.parametrize(
    "save", [save_npy, save_floats, save_grey, save_npz, save_pictures, save_idx, save_ours]
)
def test_large_sources_give_the_same_images(
    save: Any, size: int, channels: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, file = tmp_path / save(tmp_path), tmp_path / "out" / "images.safetensors"
    whole = load_images(source, size=size, channels=channels)
    assert isinstance(whole.pixels, Tensor)
    request.getfixturevalue("large")
    images = load_images(source, size=size, channels=channels, file=file)
    assert isinstance(images.pixels, DiskTensor) and images.pixels.path == file
    assert images.digest == whole.digest
    assert images.name == whole.name
    others = {p.name for p in file.parent.iterdir()} - {file.name}
    assert others == ({"unreadable.txt"} if save is save_pictures else set())
    assert torch.equal(safetensors.torch.load_file(file)["pixels"], whole.pixels)
    assert count_images(source, size=size, channels=channels) in (25, 26)  # one is broken


def test_small_sources_go_to_the_file_as_ever(tmp_path: Path) -> None:
    images = load_images(tmp_path / save_npz(tmp_path), size=12, file=tmp_path / "a.safetensors")
    assert isinstance(images.pixels, Tensor)
    images.save(tmp_path / "b.safetensors")
    first, second = (tmp_path / f"{name}.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.usefixtures("large")
def test_what_cannot_be_images_leaves_no_file(tmp_path: Path) -> None:
    def refused(array: Any, sentence: str) -> None:
        np.save(tmp_path / "bad.npy", array)
        with pytest.raises(DecoctError, match=sentence):
            load_images(tmp_path / "bad.npy", size=12, file=tmp_path / "out" / "images.safetensors")
        assert list((tmp_path / "out").iterdir()) == []

    floats = BYTES / 255
    floats[17, 0, 0, 0] = np.nan
    refused(floats, "1 images have non-finite pixels, the first at index 17")
    refused(np.full_like(BYTES, 7), "the images are constant")
    refused(BYTES.astype(np.int64), "give uint8, or floats")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "bad.npy").read_bytes()[:-5])
    with pytest.raises(DecoctError, match="cannot be read as numpy data"):
        load_images(tmp_path / "cut.npy", size=12)


@pytest.mark.usefixtures("large")
def test_names_longer_than_their_room_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoct.data.images._ROOM", 64)
    source = tmp_path / save_npy(tmp_path)
    with pytest.raises(DecoctError, match="is longer than"):
        load_images(source, size=12, file=tmp_path / "images.safetensors")
    assert not (tmp_path / "images.safetensors").exists()
