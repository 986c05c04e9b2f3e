"""A source in pieces: the names of its pictures, and their pixels when they are needed."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from decoct.core.errors import DecoctError
from decoct.core.on_disk import rows_a_chunk
from decoct.data.fingerprint import fingerprint
from decoct.data.idx import find_idx
from decoct.data.images import Images
from decoct.data.pictures import fit
from decoct.data.sources import load_images

_MOST = 1024  # pictures in a piece


@dataclass(frozen=True)
class PictureFiles:
    """Some pictures of a folder, side by side."""

    folder: Path
    files: Sequence[Path]

    @property
    def names(self) -> list[str]:
        """Each picture's path within the folder."""
        return [_text(file.relative_to(self.folder)) for file in self.files]

    @property
    def mark(self) -> list[object]:
        """What changes if the pictures do."""
        facts = (file.stat() for file in self.files)
        return [[name, f.st_size, f.st_mtime_ns] for name, f in zip(self.names, facts, strict=True)]

    def read(self, *, size: int, channels: int) -> Iterator[NDArray[np.uint8] | str]:
        """Each picture, size x size x channels, or why it cannot be read."""
        for file in self.files:
            try:
                with Image.open(file) as picture:
                    yield fit(picture, size=size, channels=channels)
            except Exception as error:  # Pillow's plugins raise many types for a damaged file
                yield " ".join(str(error).split())


@dataclass(frozen=True)
class ImageRows:
    """Some images of another source, side by side."""

    images: Images
    rows: range
    source: str  # its fingerprint

    @property
    def names(self) -> list[str]:
        """Each image's number in the source."""
        return [str(row) for row in self.rows]

    @property
    def mark(self) -> list[object]:
        """What changes if the pictures do."""
        return [self.source, self.rows.start, self.rows.stop]

    def read(self, *, size: int, channels: int) -> Iterator[NDArray[np.uint8] | str]:
        """Each picture, size x size x channels, or why it cannot be read."""
        for pixels in self.images.pixels[self.rows.start : self.rows.stop]:
            yield pixels.permute(1, 2, 0).numpy()


Piece = PictureFiles | ImageRows


def source_pieces(source: str, *, size: int, channels: int, file: Path) -> Sequence[Piece]:
    """The pieces of any source that `load_images` takes; those of a folder need little memory.

    The images of another source are written to `file`, and stay there if they are too large for
    memory. Raises `DecoctError` if there are none.
    """
    folder, most = Path(source), min(_MOST, rows_a_chunk(channels * size**2))
    if source != "emoji" and folder.is_dir() and find_idx(folder, "train") is None:
        files = _files_of(folder)
        return [PictureFiles(folder, files[i : i + most]) for i in range(0, len(files), most)]
    images, mark = load_images(source, size=size, channels=channels, file=file), fingerprint(source)
    rows = range(len(images))
    return [ImageRows(images, rows[i : i + most], mark) for i in range(0, len(images), most)]


def _files_of(folder: Path) -> list[Path]:
    extensions = Image.registered_extensions()
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in extensions and f.is_file())
    if not files:
        raise DecoctError(f"{folder} holds no pictures that Pillow can read")
    return files


def _text(path: Path) -> str:
    """A path as text, also where its bytes are none."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
