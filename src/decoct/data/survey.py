"""`Survey`: what lies in a folder of pictures, as far as their headers tell."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.readable import open_regular
from decoct.data.catalogue import PARTS, catalogue_of
from decoct.data.listing import left_out
from decoct.data.pictures import open_picture, reason, without_warnings

_LOOKED_AT = 2000  # files: takes a few seconds on a slow disk


@dataclass(frozen=True)
class Survey:
    """What was found in a folder without decoding any picture."""

    folder: Path
    pictures: int  # files that have the suffix of a format that is read
    looked_at: int  # of these: all, or 2,000 at equal distances
    shorter_sides: tuple[int, int, int]  # smallest, median, largest of those looked at, in pixels
    formats: Mapping[str, int]  # of those looked at, the most frequent first: {"JPEG": 12}
    unreadable: Mapping[str, str]  # of those looked at: file names, and why
    unsupported: Mapping[str, int]  # files that look like pictures but are not read, by suffix
    classes: Mapping[str, int]  # pictures by class folder; empty without class folders
    parts: Mapping[str, int]  # pictures in the folders `train` and `test`; empty without the two

    @property
    def left_out(self) -> str:
        """`unsupported` in words, with what to do about each kind; "" if there are none."""
        return left_out(self.unsupported)


def survey(folder: str | Path) -> Survey:
    """Look at a folder of pictures: all are listed, the headers of at most 2,000 are read.

    Raises `DecoctError` if it holds no pictures, or none of those looked at can be read.

    >>> from PIL import Image
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (40, 30)).save(Path(folder, "a.png"))
    ...     survey(folder).shorter_sides
    (30, 30, 30)
    """
    found = catalogue_of(Path(folder))
    count = len(found.files)
    chosen = [found.files[i * count // _LOOKED_AT] for i in range(_LOOKED_AT)]
    looked_at = found.files if count <= _LOOKED_AT else tuple(chosen)
    sides, formats, unreadable = [], Counter[str](), {}
    with without_warnings(), progress(f"looking at {found.name}", total=len(looked_at)) as advance:
        for file in looked_at:
            try:
                with open_regular(file) as opened, open_picture(opened) as picture:
                    sides.append(min(picture.size))
                    formats[picture.format or "unknown"] += 1
            except Exception as error:  # Pillow's plugins raise many types for a damaged file
                unreadable[found.name_of(file)] = reason(error)
            advance("")
    if not sides:
        raise DecoctError(f"{folder}: none of the {len(looked_at)} pictures looked at can be read")
    parts = Counter(found.parts or ())
    return Survey(
        folder=Path(folder),
        pictures=count,
        looked_at=len(looked_at),
        shorter_sides=(min(sides), median_low(sides), max(sides)),
        formats=dict(formats.most_common()),
        unreadable=unreadable,
        unsupported=found.unsupported,
        classes=dict(Counter(found.classes if found.classes and all(found.classes) else ())),
        parts={part: count for part, count in parts.items() if part in PARTS},
    )
