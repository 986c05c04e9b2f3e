"""Images that stay in their file give the same bits as those in memory, in the requested order."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.on_disk import DiskTensor
from decoct.data.images import Images, normalise
from decoct.data.stream import stream, stream_pixels

ORDER = torch.randperm(40, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def file(tmp_path: Path, tiny_images: Images) -> Path:
    tiny_images.save(tmp_path / "images.safetensors")
    return tmp_path / "images.safetensors"


@pytest.fixture
def stored(file: Path, monkeypatch: pytest.MonkeyPatch) -> Images:
    """The tiny images, as if they were too large for memory, read a few at a time."""
    monkeypatch.setattr("decoct.core.on_disk._IN_MEMORY", 0)
    monkeypatch.setattr("decoct.core.on_disk.CHUNK", 5000)  # bytes: 6 images
    images = Images.load(file)
    assert isinstance(images.pixels, DiskTensor)
    return images


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("decoct-ahead")]


def test_small_sets_are_read_into_memory(file: Path, tiny_images: Images) -> None:
    pixels = Images.load(file).pixels
    assert isinstance(pixels, Tensor) and torch.equal(pixels, torch.as_tensor(tiny_images.pixels))


def test_a_stored_set_is_the_same_set(stored: Images, tiny_images: Images, tmp_path: Path) -> None:
    assert stored.digest == tiny_images.digest
    assert (len(stored), stored.channels, stored.size) == (40, 3, 16)
    assert stored.pixels.nbytes == tiny_images.pixels.nbytes
    for index in (ORDER, ORDER[:0], torch.tensor([7, 7, 8, 9, 3]), slice(3, 9), slice(None, 30, 7)):
        assert torch.equal(stored.pixels[index], tiny_images.pixels[index])
        assert torch.equal(stored.normalised(index), tiny_images.normalised(index))
    some = stored.subset(ORDER[:3])
    assert isinstance(some.pixels, Tensor) and some.digest == tiny_images.subset(ORDER[:3]).digest
    stored.to(torch.device("cpu")).save(tmp_path / "copy.safetensors")
    assert Images.load(tmp_path / "copy.safetensors").digest == tiny_images.digest


@pytest.mark.parametrize("row", [40, -1])
def test_rows_that_are_not_there_are_refused(stored: Images, row: int) -> None:
    with pytest.raises(IndexError, match="has 40 rows"):
        stored.pixels[torch.tensor([0, row])]


@pytest.mark.parametrize("size", [1, 7, 40, 64])
def test_streamed_batches_are_those_asked_for(
    stored: Images, tiny_images: Images, size: int
) -> None:
    batches = ORDER.split(size)
    for images in (stored, tiny_images):
        found = list(stream(images, batches, device="cpu"))
        assert [i.tolist() for i, _ in found] == [i.tolist() for i in batches]
        for index, x in found:
            assert torch.equal(x, tiny_images.normalised(index))
        raw = [x for _, x in stream_pixels(images, iter(batches), device="cpu")]
        assert torch.equal(torch.cat(raw), tiny_images.pixels[ORDER])
    assert threads() == []


def test_batches_are_read_ahead(stored: Images) -> None:
    asked: list[int] = []

    def batches() -> Iterator[Tensor]:
        for i in range(6):
            asked.append(i)
            yield ORDER[i : i + 1]

    reading = stream(stored, batches(), device="cpu")
    next(reading)
    assert asked == [0, 1, 2]
    next(reading)
    assert asked == [0, 1, 2, 3]
    reading.close()


def test_an_abandoned_iterator_ends_its_thread(stored: Images) -> None:
    reading = stream(stored, ORDER.split(4), device="cpu")
    next(reading)
    assert threads()
    reading.close()
    assert threads() == []
    for _ in stream(stored, ORDER.split(4), device="cpu"):
        break
    assert threads() == []


def test_errors_of_the_thread_are_raised_in_their_turn(stored: Images, file: Path) -> None:
    reading = stream(stored, torch.arange(40).split(4), device="cpu")
    next(reading)
    with file.open("r+b") as cut:
        cut.truncate(file.stat().st_size - 16 * 16 * 3 * 8)  # the last two batches
    with pytest.raises(DecoctError, match=r"images\.safetensors was cut short while it was"):
        for _ in reading:
            pass
    assert threads() == []
    file.unlink()
    with pytest.raises(DecoctError, match="cannot be read"):
        next(stream(stored, ORDER.split(4), device="cpu"))
    assert threads() == []


def test_a_damaged_file_is_refused(stored: Images, file: Path) -> None:
    assert storage.is_valid(file, kind="images")
    whole = file.read_bytes()
    for place in (len(whole) - 1, len(whole) // 2):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not storage.is_valid(file, kind="images")
        with pytest.raises(DecoctError, match="its digest does not match"):
            Images.load(file)
    file.write_bytes(whole[:-9])
    with pytest.raises(DecoctError, match="is damaged"):
        Images.load(file)


def test_another_normalisation_is_another_set_of_floats(stored: Images) -> None:
    other = stored.with_statistics(torch.full((3,), 0.5), torch.full((3,), 0.1))
    (_, x), *_ = stream(other, ORDER.split(8), device="cpu")
    assert torch.equal(x, normalise(stored.pixels[ORDER[:8]], other.mean, other.std))
