"""Sprites of a game's units, with their races as classes; a unit's frames are on one side."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from order import as_listed
from packages import WESNOTH, debian, read_debian
from pictures import Picture, distinct, is_test, make_tile
from PIL import Image

FOLDER = "usr/share/games/wesnoth/1.16/data/core/images/units/"
FEWEST = 75  # minimum number of pictures of a race


def unit(path: str) -> str:
    """A sprite's race and unit: its folder below its race's, or its file name up to `-` or `+`.

    >>> unit("undead/soulless-bat-ne-4.png"), unit("undead-skeletal/archer/archer-bob-1.png")
    ('undead/soulless', 'undead-skeletal/archer')
    """
    race, name, *below = PurePosixPath(path).parts
    return f"{race}/{name if below else re.split('[-+]', name.removesuffix('.png'))[0]}"


def draw(files: dict[str, bytes]) -> Iterator[Picture]:
    """The sprites of the races with enough of them."""
    races = Counter(path.split("/")[0] for path in files if "/" in path)
    for path in as_listed(files):
        race = path.split("/")[0]
        tile = make_tile(Image.open(io.BytesIO(files[path]))) if races[race] >= FEWEST else None
        if tile is not None:
            yield Picture(tile, race, is_test(unit(path)))


def pictures(cache: Path, *, mirror: str) -> list[Picture]:
    """All sprites, without duplicate pictures."""
    return distinct(draw(read_debian(debian(WESNOTH, cache, mirror=mirror), FOLDER, ".png")))
