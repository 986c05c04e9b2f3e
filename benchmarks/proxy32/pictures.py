"""Shared by the sources: a picture at 32 px, the side it is on, a task's file."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

SIZE = 32
TEST_PER_MILLE = 250


@dataclass(frozen=True)
class Picture:
    """A picture's bytes (32 x 32 x 3), its class, and whether its group is on the test side."""

    tile: bytes
    label: str
    test: bool


def is_test(group: str, *, start: int = 0) -> bool:
    """Whether a group is on the test side: the same on every machine, a quarter of all groups.

    `start` is the crc32 of the text before the group's name, if that was hashed too.
    """
    return zlib.crc32(group.encode(), start) % 1000 < TEST_PER_MILLE


def square(image: Image.Image) -> Image.Image | None:
    """The visible part of a picture, centred in a white square; None if nothing is visible."""
    image = image.convert("RGBA")
    box = image.getchannel("A").getbbox()
    if box is None:
        return None
    image = image.crop(box)
    side = max(image.size)
    corner = ((side - image.width) // 2, (side - image.height) // 2)
    white = Image.new("RGB", (side, side), "white")
    white.paste(image, corner, mask=image)
    return white


def make_tile(image: Image.Image) -> bytes | None:
    """The picture as 32 x 32 x 3 bytes; None if nothing is visible."""
    white = square(image)
    if white is None:
        return None
    return white.resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3).tobytes()


def distinct(pictures: Iterable[Picture]) -> list[Picture]:
    """The pictures without those whose pixels equal an earlier one's."""
    first: dict[bytes, Picture] = {}
    for picture in pictures:
        first.setdefault(picture.tile, picture)
    return list(first.values())


def as_array(tiles: Sequence[bytes]) -> Pixels:
    """Tiles as uint8 N x 32 x 32 x 3."""
    return np.frombuffer(b"".join(tiles), np.uint8).reshape(-1, SIZE, SIZE, 3)


def write_task(path: Path, pictures: Sequence[Picture]) -> None:
    """Write a task's file, with its classes in alphabetical order."""
    classes = sorted({picture.label for picture in pictures})
    arrays: dict[str, Any] = {}
    sides: dict[str, Callable[[Picture], bool]] = {"train": lambda p: not p.test}
    sides["test"] = lambda p: p.test
    for side, belongs in sides.items():
        chosen = [picture for picture in pictures if belongs(picture)]
        arrays[f"{side}_images"] = as_array([picture.tile for picture in chosen])
        arrays[f"{side}_labels"] = np.array([classes.index(p.label) for p in chosen], np.int64)
    np.savez_compressed(path, **arrays, class_names=np.array(classes))
