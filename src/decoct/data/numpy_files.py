"""Arrays in .npy and .npz files: nothing is unpickled, and only what is asked for is read."""

import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from decoct.core.errors import DecoctError
from decoct.core.printable import brief
from decoct.core.readable import check_regular
from decoct.data.expansion import check_expansion

_HEAD = 2**16  # bytes within which an array's header ends: numpy's own are below 10,000
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is of an empty one


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    length: int  # bytes before the numbers


@dataclass(frozen=True)
class StoredArray:
    """An array of a file: what its header says, and its numbers when they are asked for."""

    path: Path
    name: str  # "" of the only one of a .npy file
    size: int  # bytes of header and numbers
    taken: int  # bytes that they take in the file
    opened: Callable[[], IO[bytes]]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, columns, ..."""
        return self._header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """What kind of numbers, or text."""
        return self._header.dtype

    def read(self) -> NDArray[Any]:
        """The whole array in memory; raises `DecoctError` if it cannot be read."""
        check_expansion(f"{self.path}: {self._said}", size=self._bytes, taken=self.taken)
        with _reading(self.path), self.opened() as file:
            return npy.read_array(file, allow_pickle=False)

    @cached_property
    def _header(self) -> _Header:
        """What the array's header says, once it is sure that the file can hold that much."""
        with _reading(self.path):
            with self.opened() as file:
                head = BytesIO(file.read(_HEAD))
            version = npy.read_magic(head)
            if version == (1, 0):
                shape, _, dtype = npy.read_array_header_1_0(head)
            elif version == (2, 0):
                shape, _, dtype = npy.read_array_header_2_0(head)
            else:  # 3.0 is for fields whose names are not Latin
                raise ValueError(f"{self._said} is of numpy's format {version}, not 1.0 or 2.0")
            found = _Header(shape, dtype, head.tell())
            self._check(found)
        return found

    def _check(self, header: _Header) -> None:
        dtype, numbers = header.dtype, math.prod(header.shape)
        if dtype.hasobject:
            raise ValueError(
                f"{self._said} holds Python objects, which may run code and are never loaded; save "
                "numbers, or text as array.astype(str)"
            )
        if dtype.names or dtype.subdtype or not dtype.itemsize:
            raise ValueError(f"{self._said} holds records of {dtype}, not plain numbers")
        if min(header.shape, default=0) < 0:
            raise ValueError(f"{self._said} has the shape {header.shape}; no side is negative")
        if header.length + numbers * dtype.itemsize > self.size:
            raise ValueError(
                f"{self._said} is cut short: its header promises more numbers than there are"
            )

    @property
    def _bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def _said(self) -> str:
        return self.name or "its array"


@contextmanager
def open_arrays(path: Path) -> Iterator[dict[str, StoredArray]]:
    """The arrays of a .npz by name, or that of a .npy under the name "", while the file is open.

    Raises `DecoctError` if it is no such file.
    """
    check_regular(path)
    with _reading(path):
        with path.open("rb") as file:
            start = file.read(4)
        archive = zipfile.ZipFile(path) if start in _ZIP else None
    if archive is None:
        size = path.stat().st_size
        yield {"": StoredArray(path, "", size, size, lambda: path.open("rb"))}
        return
    with archive:
        yield _members(path, archive)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, StoredArray]:
    entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
    for name, count in Counter(entry.filename for entry in entries).items():
        if count > 1:
            raise DecoctError(f"{path} holds {count} arrays called {name.removesuffix('.npy')}")
    whole = path.stat().st_size

    def stored(entry: zipfile.ZipInfo) -> StoredArray:
        name, taken = entry.filename.removesuffix(".npy"), min(entry.compress_size, whole)
        return StoredArray(path, name, entry.file_size, taken, lambda: archive.open(entry))

    return {array.name: array for array in map(stored, entries)}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DecoctError:
        raise
    except Exception as error:  # numpy, zipfile and its decompressors raise many types
        reason = brief(error)
        raise DecoctError(f"{path} cannot be read as numpy data: {reason}") from error


def numeric_tensor(array: Any) -> Tensor:
    """An array as torch takes it, which knows no other machine's byte order and no long doubles.

    Raises `TypeError` or `ValueError` if it does not hold numbers.

    >>> numeric_tensor(np.array([1, 2], ">f4"))
    tensor([1., 2.])
    """
    if isinstance(array, np.ndarray):
        kind = np.float64 if array.dtype.kind == "f" and array.itemsize > 8 else array.dtype
        with np.errstate(over="ignore"):  # whoever uses it finds what is infinite then
            array = array.astype(np.dtype(kind).newbyteorder("="), copy=False)
        if min(array.strides, default=0) < 0:  # such as colours that were turned round
            array = np.ascontiguousarray(array)
    return torch.as_tensor(array)
