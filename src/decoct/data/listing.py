"""`Listing`: which files of a folder are pictures, and which look like some but are not read."""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from decoct.core import storage
from decoct.core.errors import DecoctError

SAVED_RECIPE = "# every setting of this run; decoct wrote it, and will write it again\n"

# Folders that systems make beside people's pictures; those whose names begin with a dot as well.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
# Pillow only knows the names of these formats, or needs a handler for them that nobody installs.
_STUBS = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF")
# What looks like a picture, but is not read, and what to do about it.
_UNSUPPORTED = {
    "pip install 'decoct[heif]' reads them": (".heic", ".heif", ".hif"),
    "pip install --upgrade pillow reads them": (".avif", ".avifs"),
    "camera RAW: develop them to JPEG or TIFF": (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef"),
        *(".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".srw", ".x3f"),
    ),
    "drawings: render them to PNG": (".ai", ".emf", ".svg", ".svgz", ".wmf"),
    "documents: save their pages as PNG": (".djvu", ".pdf"),
    "films: save frames of them as JPEG or PNG": (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".webm", ".wmv"),
    ),
    "convert them to JPEG or PNG": (".exr", ".hdr", ".jxl", ".kra", ".xcf"),
}
_ADVICE = {suffix: advice for advice, suffixes in _UNSUPPORTED.items() for suffix in suffixes}


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder and of the folders in it, in the order of their names."""

    folder: Path
    pictures: tuple[Path, ...]
    unsupported: Mapping[str, int]  # files that look like pictures but are not read, by suffix
    closed: Mapping[str, str]  # folders that cannot be opened, and why


@cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes, in small letters, of all formats that are read, HEIF if its extra is there."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    formats = Image.registered_extensions()  # loads Pillow's plugins
    return frozenset(s for s, name in formats.items() if name in Image.OPEN and name not in _STUBS)


def list_pictures(folder: Path) -> Listing:
    """List a folder with all folders in it; every real folder counts once, however it is linked.

    Leaves out hidden files and folders, those that systems make, and the folders of decoct's runs.
    Raises `DecoctError` if the folder itself cannot be opened.
    """
    suffixes = picture_suffixes()
    pictures: list[Path] = []
    unsupported: Counter[str] = Counter()
    closed: dict[str, str] = {}
    for file in _files(folder, closed):
        suffix = file.suffix.lower()
        if suffix in suffixes:
            pictures.append(file)
        elif suffix in _ADVICE:
            unsupported[suffix] += 1
    return Listing(folder, tuple(sorted(pictures)), dict(sorted(unsupported.items())), closed)


def _files(folder: Path, closed: dict[str, str]) -> Iterator[Path]:
    """The files in a folder and below; adds to `closed` the folders that cannot be opened."""
    root, seen = folder.resolve(), set[Path]()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:  # links last, so that a folder goes by its own name where it has one
        linked = not folders
        here = links.popleft() if linked else folders.popleft()
        real = here.resolve()
        if real in seen or (linked and root.is_relative_to(real)):  # a link back up is a loop
            continue
        seen.add(real)
        try:
            with os.scandir(here) as entries:
                found = sorted((e for e in entries if not _ignored(e.name)), key=lambda e: e.name)
        except OSError as error:
            if here == folder:
                raise DecoctError(f"{folder} cannot be read ({error.strerror})") from error
            closed[here.relative_to(folder).as_posix()] = error.strerror or str(error)
            continue
        if here != folder and _is_run(here, {entry.name for entry in found}):
            continue
        for entry in found:
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(here / entry.name)
            else:
                yield here / entry.name


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS


def _is_run(folder: Path, names: set[str]) -> bool:
    """Whether a run of decoct wrote the folder: its pictures are no photographs."""
    try:
        if "recipe.yaml" in names:
            with (folder / "recipe.yaml").open(encoding="utf-8", errors="replace") as file:
                if file.readline() == SAVED_RECIPE:
                    return True
        if "run.json" in names:
            storage.load_json(folder / "run.json", kind="run")
            return True
    except (OSError, DecoctError):
        return False
    return False


def is_picture(file: Path) -> bool:
    """Whether a file's name is that of a picture, be it one that is read or not."""
    suffix = file.suffix.lower()
    return suffix in picture_suffixes() or suffix in _ADVICE


def left_out(unsupported: Mapping[str, int]) -> str:
    """How many files of which kind are left out, and what to do about them; "" if none.

    >>> left_out({".cr2": 1, ".nef": 2})
    '1 .cr2, 2 .nef (camera RAW: develop them to JPEG or TIFF)'
    """
    by_advice: dict[str, list[str]] = {}
    for suffix, count in unsupported.items():
        by_advice.setdefault(_ADVICE[suffix], []).append(f"{count} {suffix}")
    return "; ".join(f"{', '.join(files)} ({advice})" for advice, files in by_advice.items())
