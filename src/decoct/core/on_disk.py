"""`DiskTensor`: a uint8 tensor that stays in its file; indexing reads only the rows asked for."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoct.core.console import progress
from decoct.core.errors import DecoctError, UnreadableError

_IN_MEMORY = 2_000_000_000  # bytes: anything larger stays in its file
CHUNK = 2**25  # bytes read at a time in a pass over all rows


@dataclass(frozen=True)
class DiskTensor:
    """N rows of uint8 in a file; only the rows asked for are read into memory.

    Rows are read, not mapped: a mapped page counts as the process's memory until it is released,
    and a page fault makes the disk read ahead data that random access will not use.
    """

    path: Path
    offset: int  # bytes before the first row
    shape: torch.Size
    chosen: Tensor | None = None  # int64, N: which of the file's rows to use; None: all
    dtype = torch.uint8

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """The size of all rows in bytes."""
        return self.shape.numel()

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The rows at `index` (int64, B; on any device), in its order, in memory on the CPU.

        Raises `DecoctError` if the file ends before them, `UnreadableError` if the disk fails, and
        `IndexError` if there is no such row.
        """
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        wanted = index.cpu().numpy()
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows; others were asked for")
        if self.chosen is not None:
            wanted = self.chosen.numpy()[wanted]
        rows = torch.empty((len(wanted), *self.shape[1:]), dtype=torch.uint8)
        try:
            self._read(wanted, rows.flatten().numpy())
        except OSError as error:
            raise UnreadableError(
                f"{self.path} cannot be read ({error.strerror or error}); nothing was changed"
            ) from error
        return rows

    def select(self, index: Tensor) -> "DiskTensor":
        """The rows at `index` (int64, m), without reading them."""
        index = index.cpu() if self.chosen is None else self.chosen[index.cpu()]
        return replace(self, shape=torch.Size((len(index), *self.shape[1:])), chosen=index)

    def _read(self, wanted: NDArray[np.int64], into: NDArray[np.uint8]) -> None:
        size = self.shape[1:].numel()
        begins = np.flatnonzero(np.diff(wanted, prepend=-2) != 1)  # of runs of neighbours
        counts = (size * np.diff(begins, append=len(wanted))).tolist()
        places = (self.offset + size * wanted[begins]).tolist()
        with self.path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # request all runs at once, so the disk is never idle
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for place, count in zip(places, counts, strict=True):
                    os.posix_fadvise(file.fileno(), place, count, os.POSIX_FADV_WILLNEED)
            left = into.data
            for place, count in zip(places, counts, strict=True):
                file.seek(place)
                self._fill(left[:count], file)
                left = left[count:]

    def _fill(self, left: memoryview, file: RawIOBase) -> None:
        while left:
            count = file.readinto(left)
            if not count:
                raise DecoctError(f"{self.path} was cut short while it was being read")
            left = left[count:]

    def chunks(self, doing: str) -> Iterator[Tensor]:
        """All rows in order, 32 MB at a time, with a progress bar labelled `doing`."""
        size = rows_a_chunk(self.shape[1:].numel())
        with progress(doing, total=-(-len(self) // size)) as advance:
            for first in range(0, len(self), size):
                yield self[first : first + size]
                advance("")


def chunks_of(tensor: Tensor | DiskTensor, doing: str) -> Iterable[Tensor]:
    """A tensor in memory as one chunk; a tensor in a file chunk by chunk."""
    return (tensor,) if isinstance(tensor, Tensor) else tensor.chunks(doing)


def rows_a_chunk(row_bytes: int) -> int:
    """How many rows of `row_bytes` bytes are read at a time.

    >>> rows_a_chunk(3 * 64 * 64)
    2730
    """
    return max(1, CHUNK // max(1, row_bytes))


def too_large(count: int) -> bool:
    """Whether `count` bytes of pixels are too many for memory and stay in their file."""
    return count > _IN_MEMORY


def read_tensors(path: Path) -> tuple[dict[str, DiskTensor], dict[str, Tensor]]:
    """The uint8 tensors of a safetensors file that are too large for memory, and all the others."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    stored = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "U8" and too_large(end - begin):
            stored[name] = DiskTensor(path, 8 + length + begin, torch.Size(entry["shape"]))
    if not stored:
        return {}, safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as small:  # "pt" reserves memory for all
        names = entries.keys() - stored
        return stored, {name: torch.from_numpy(small.get_tensor(name)) for name in names}


def write_rows(path: Path, rows: Iterable[Tensor], *, offset: int) -> DiskTensor:
    """Write uint8 rows to a file as they arrive, `offset` bytes from its start."""
    count, shape = 0, torch.Size()
    with path.open("wb") as file:
        file.seek(offset)
        for piece in rows:
            file.write(piece.contiguous().numpy().data)
            count, shape = count + len(piece), piece.shape[1:]
    return DiskTensor(path, offset, torch.Size((count, *shape)))


def file_head(
    name: str, rows: DiskTensor, *, others: Mapping[str, Tensor], metadata: dict[str, str]
) -> bytes:
    """The start of a safetensors file, up to the rows: its header and the other tensors.

    The header is padded with spaces so that it ends where the rows begin.
    """
    head = safetensors.torch.save(dict(others), metadata)
    length = 8 + int.from_bytes(head[:8], "little")
    entries, data = json.loads(head[8:length]), head[length:]
    place = [len(data), len(data) + rows.nbytes]
    entries[name] = {"dtype": "U8", "shape": list(rows.shape), "data_offsets": place}
    text = json.dumps(entries).encode().ljust(rows.offset - len(data) - 8)
    return len(text).to_bytes(8, "little") + text + data
