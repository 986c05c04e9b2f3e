"""IDX files: the MNIST format, with unsigned bytes, gzipped or not."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decoct.core.errors import DecoctError
from decoct.core.on_disk import rows_a_chunk
from decoct.core.readable import check_regular
from decoct.data.expansion import check_expansion
from decoct.data.source_arrays import SourceArrays

_DIMENSIONS = 4  # of colour images: N x H x W x C
_File = gzip.GzipFile | BufferedReader


def find_idx(folder: Path, split: str) -> Path | None:
    """The IDX file of a split's images in a folder, gzipped or not; None if there is none."""
    prefix = "t10k" if split == "test" else "train"
    return next(iter(sorted(folder.glob(f"{prefix}-images*idx3-ubyte*"))), None)


def idx_files(folder: Path) -> list[Path]:
    """All IDX files of a folder, with images or labels."""
    return sorted(folder.glob("*idx[13]-ubyte*"))


def open_idx(path: Path) -> SourceArrays:
    """The images of a file, with the labels from the file next to it."""
    labels = labels_beside(path)
    with _opened(path) as file:
        count, *sides = _read_shape(path, file)
    if len(sides) not in (2, 3):
        raise DecoctError(f"{path} holds an array of {1 + len(sides)} dimensions, not images")
    return SourceArrays(
        _pieces(path), count, lambda: (None if labels is None else read_idx(labels), ())
    )


def labels_beside(path: Path) -> Path | None:
    """The file with the labels of the images in an IDX file; None if there is none."""
    name = path.name.replace("-images", "-labels").replace("idx3-ubyte", "idx1-ubyte")
    labels = path.with_name(name)
    return labels if labels != path and labels.exists() else None


def read_idx(path: Path) -> NDArray[np.uint8]:
    """A file as one array; raises `DecoctError` if it is cut short or not an IDX file."""
    return np.concatenate(list(_pieces(path)))


def _pieces(path: Path) -> Iterator[NDArray[np.uint8]]:
    with _opened(path) as file:
        count, *shape = _read_shape(path, file)
        row = math.prod(shape)
        size = rows_a_chunk(row)
        for first in range(0, count, size):
            step = min(size, count - first)
            data = file.read(step * row)
            if len(data) != step * row:
                raise DecoctError(
                    f"{path} is cut short: its header says {count * row} bytes, "
                    f"not {first * row + len(data)}"
                )
            yield np.frombuffer(bytearray(data), np.uint8).reshape(step, *shape)  # writable
        if file.read(1):
            raise DecoctError(f"{path} is longer than the {count * row} bytes its header says")


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    check_regular(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise DecoctError(f"{path} cannot be read: {error}") from error


def _read_shape(path: Path, file: _File) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not magic[3]:
        raise DecoctError(f"{path} is not an IDX file of unsigned bytes")
    sides = file.read(4 * magic[3])
    if len(sides) < 4 * magic[3]:
        raise DecoctError(f"{path} is cut short within its header")
    shape = struct.unpack(f">{magic[3]}I", sides)
    _check_size(path, shape)
    return shape


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse what the file cannot hold, before memory is set aside for it."""
    says, there = math.prod(shape), path.stat().st_size
    if not says or len(shape) > _DIMENSIONS:
        raise DecoctError(f"{path} holds no images or labels: its header says {shape[:9]}")
    if path.suffix == ".gz":
        check_expansion(str(path), size=says, taken=there)
    elif says > there:
        raise DecoctError(f"{path} is cut short: its header says {says} bytes, not {there}")
