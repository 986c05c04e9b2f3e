"""A source in pieces: the names of its pictures, and their pixels when they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decoct.core.on_disk import rows_a_chunk
from decoct.core.paths import exists
from decoct.data.catalogue import Catalogue, catalogue_of, part_named, say_what_is_left_out
from decoct.data.fingerprint import file_mark, fingerprint
from decoct.data.idx import find_idx
from decoct.data.images import Images
from decoct.data.parts import part_of
from decoct.data.pictures import decoded
from decoct.data.sources import load_images
from decoct.data.table import SUFFIXES as TABLES

_MOST = 1024  # pictures in a piece


@dataclass(frozen=True)
class PictureFiles:
    """Some picture files, side by side in their order."""

    catalogue: Catalogue
    files: Sequence[Path]

    @property
    def names(self) -> list[str]:
        """Each picture's path within the folder."""
        return [self.catalogue.name_of(file) for file in self.files]

    @property
    def mark(self) -> list[object]:
        """What changes if the pictures do."""
        facts = map(file_mark, self.files)
        return [[name, *fact] for name, fact in zip(self.names, facts, strict=True)]

    def read(self, *, size: int, channels: int) -> Iterator[NDArray[np.uint8] | str]:
        """Each picture, size x size x channels, or why it cannot be read."""
        return decoded(self.files, size=size, channels=channels, doing="reading pictures")


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
    name, part = part_named(source)
    path, most = Path(name), min(_MOST, rows_a_chunk(channels * size**2))
    folder = (
        exists(path) and path.is_dir() and source != "emoji" and find_idx(path, "train") is None
    )
    if folder or (path.suffix in TABLES and exists(path) and path.is_file()):
        found = catalogue_of(path)
        say_what_is_left_out(found)
        files = (part_of(found, part) if part else found).files
        return [PictureFiles(found, files[i : i + most]) for i in range(0, len(files), most)]
    images, mark = load_images(source, size=size, channels=channels, file=file), fingerprint(source)
    rows = range(len(images))
    return [ImageRows(images, rows[i : i + most], mark) for i in range(0, len(images), most)]
