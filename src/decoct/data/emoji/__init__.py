"""Emoji pictures that ship with the package: 32 x 32 RGB, two vendors' art, on white.

The pictures are Google's Noto and Microsoft's Fluent emoji, labelled with Unicode's groups (9) and
subgroups (98). Both pictures of an emoji are in the same split, train or test, so a test picture
never shows an emoji whose picture by the other vendor was trained on. ``NOTICE.md`` in this folder
says where the art comes from and under which licences.

This module needs only numpy and Pillow. ``scripts/build_emoji.py`` made the files.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["EmojiArrays", "load_emoji_arrays"]


@dataclass(frozen=True)
class EmojiArrays:
    """N labelled pictures.

    Attributes:
        images: uint8, N x 32 x 32 x 3 (RGB).
        groups: int64, N; indices into ``group_names``.
        subgroups: int64, N; indices into ``subgroup_names``.
        group_names: the 9 groups; the same for every split.
        subgroup_names: the 98 subgroups; the same for every split, some of them tiny.
        vendors: N times ``'noto'`` or ``'fluent'``.
        code_points: N times the emoji's code points, such as ``'1F468-200D-1F33E'``.
        names: N times the emoji's Unicode name, such as ``'man farmer'``.
    """

    images: npt.NDArray[np.uint8]
    groups: npt.NDArray[np.int64]
    subgroups: npt.NDArray[np.int64]
    group_names: tuple[str, ...]
    subgroup_names: tuple[str, ...]
    vendors: tuple[str, ...]
    code_points: tuple[str, ...]
    names: tuple[str, ...]


def load_emoji_arrays(split: Literal["train", "test", "all"] = "train") -> EmojiArrays:
    """Read the pictures of one split, or of both, in Unicode's order.

    Args:
        split: ``'train'``, ``'test'`` or ``'all'``.

    Returns:
        The pictures (N x 32 x 32 x 3) with their labels.

    Raises:
        ValueError: if there is no such split.
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"split must be 'train', 'test' or 'all', not {split!r}")
    index = json.loads((files(__package__) / "index.json").read_text(encoding="utf-8"))
    keep = [i for i, row in enumerate(index["images"]) if split in ("all", row[5])]
    rows: list[list[Any]] = [index["images"][i] for i in keep]
    return EmojiArrays(
        images=_read_tiles(index["size"])[keep],
        groups=np.array([row[3] for row in rows], dtype=np.int64),
        subgroups=np.array([row[4] for row in rows], dtype=np.int64),
        group_names=tuple(index["groups"]),
        subgroup_names=tuple(index["subgroups"]),
        vendors=tuple(row[0] for row in rows),
        code_points=tuple(row[1] for row in rows),
        names=tuple(row[2] for row in rows),
    )


def _read_tiles(size: int) -> npt.NDArray[np.uint8]:
    """All tiles of the sheet, row by row: M x size x size x 3, M >= number of pictures."""
    with (files(__package__) / "emoji.webp").open("rb") as file, Image.open(file) as image:
        sheet = np.asarray(image.convert("RGB"))
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    tiles = sheet.reshape(rows, size, columns, size, 3).swapaxes(1, 2)
    return tiles.reshape(rows * columns, size, size, 3)
