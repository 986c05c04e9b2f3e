"""Clip art: a task of eight classes; everything except its test pictures goes into the pool."""

import io
import warnings
from pathlib import Path

from order import as_listed
from packages import OPENCLIPART, debian, read_debian
from pictures import Picture, distinct, is_test, make_tile
from PIL import Image

FOLDER = "usr/share/openclipart/png/"
# The first build hashed whole paths, including the package's folder: this is the crc32 of that.
FOLDER_CRC = 0x259B5067
CLASSES = {
    name: name
    for name in ("animals", "buildings", "food", "people", "plants", "recreation", "transportation")
} | dict.fromkeys(("office", "tools", "electronics"), "office+tools")
SIGNS = ("transportation/roadsigns/", "transportation/aiga-symbols/")


def label(path: str) -> str:
    """The class of a picture, or an empty string if it is not in the task.

    >>> label("tools/weapons/sword.png"), label("transportation/roadsigns/stop.png")
    ('office+tools', '')
    """
    return "" if path.startswith(SIGNS) else CLASSES.get(path.split("/")[0], "")


def draw(files: dict[str, bytes]) -> list[Picture]:
    """Every picture with visible content, each a group by itself."""
    Image.MAX_IMAGE_PIXELS = None  # one has 231 million
    drawn = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # palettes with transparency
        for path in as_listed(files):
            tile = make_tile(Image.open(io.BytesIO(files[path])))
            if tile is not None:
                drawn.append(Picture(tile, label(path), is_test(path, start=FOLDER_CRC)))
    return drawn


def pictures(cache: Path, *, mirror: str) -> tuple[list[Picture], list[bytes]]:
    """The task's pictures, and the tiles of all clip art for the pool."""
    drawn = draw(read_debian(debian(OPENCLIPART, cache, mirror=mirror), FOLDER, ".png"))
    task = distinct(picture for picture in drawn if picture.label)
    test = {picture.tile for picture in task if picture.test}
    return task, [p.tile for p in distinct(drawn) if p.tile not in test]
