"""`Listing`: which files of a folder are pictures, and which look like some but are not read."""

import os
import stat
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.readable import WHY, open_regular

SAVED_RECIPE = "# every setting of this run; decoct wrote it, and will write it again\n"

# Folders that systems make beside people's pictures; those whose names begin with a dot as well.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
# Of what Pillow knows, all that people keep pictures in. Others are not opened: EPS runs a program,
# an icon is decoded before anybody asks how large it is, and rare formats are the least tried.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI"),
    *("SGI", "TIFF", "WEBP", "TGA"),  # the last begins with nothing that it is known by
)
# What looks like a picture, but is not read, and what to do about it.
_UNSUPPORTED = {
    "pip install 'decoct[heif]' reads them": (".heic", ".heif", ".hif"),
    "pip install --upgrade pillow reads them": (".avif", ".avifs"),
    "camera RAW: develop them to JPEG or TIFF": (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef"),
        *(".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".srw", ".x3f"),
    ),
    "drawings: render them to PNG": (".ai", ".emf", ".eps", ".ps", ".svg", ".svgz", ".wmf"),
    "documents: save their pages as PNG": (".djvu", ".pdf"),
    "films: save frames of them as JPEG or PNG": (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".webm", ".wmv"),
    ),
    "convert them to JPEG or PNG": (
        *(".dds", ".exr", ".fits", ".fpx", ".hdr", ".icns", ".ico", ".jxl", ".kra", ".pcd", ".ras"),
        *(".xbm", ".xcf", ".xpm"),
    ),
}
_ADVICE = {suffix: advice for advice, suffixes in _UNSUPPORTED.items() for suffix in suffixes}


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder and of the folders in it, in the order of their names."""

    folder: Path
    pictures: tuple[Path, ...]
    unsupported: Mapping[str, int]  # files that look like pictures but are not read, by suffix
    closed: Mapping[str, str]  # folders that cannot be opened, pipes and devices, and why


@cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, HEIF if its extra is there."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    Image.init()  # loads Pillow's plugins
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes, in small letters, of all formats that are read."""
    formats = (*picture_formats(), "MPO")  # which is opened as JPEG
    return frozenset(s for s, name in Image.registered_extensions().items() if name in formats)


def list_pictures(folder: Path) -> Listing:
    """List a folder with all folders in it; every real folder counts once, however it is linked.

    Leaves out hidden files and folders, those that systems make, and the folders of decoct's runs.
    Raises `DecoctError` if the folder itself cannot be opened.
    """
    suffixes = picture_suffixes()
    pictures: list[Path] = []
    unsupported: Counter[str] = Counter()
    closed: dict[str, str] = {}
    for here, entry in _files(folder, closed):
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (no Path of other files)
        if suffix in _ADVICE and suffix not in suffixes:
            unsupported[suffix] += 1
        elif suffix in suffixes and _has_no_end(entry):
            closed[(here / entry.name).relative_to(folder).as_posix()] = WHY
        elif suffix in suffixes:
            pictures.append(here / entry.name)
    return Listing(folder, tuple(sorted(pictures)), dict(sorted(unsupported.items())), closed)


def _files(folder: Path, closed: dict[str, str]) -> Iterator[tuple[Path, "os.DirEntry[str]"]]:
    """The files in a folder and below, each with the folder that it is in.

    Adds to `closed` the folders that cannot be opened.
    """
    root, seen = folder.resolve(), set[Path]()
    folders, links = deque([(folder, root)]), deque[Path]()
    while folders or links:  # links last, so that a folder goes by its own name where it has one
        linked = not folders
        here, real = folders.popleft() if folders else (links[0], links.popleft().resolve())
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
            if not _is_folder(entry):
                yield here, entry
            elif entry.is_symlink():
                links.append(here / entry.name)
            else:
                folders.append((here / entry.name, real / entry.name))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _has_no_end(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a pipe, a device or a socket, or a link to one."""
    try:
        return not (entry.is_file(follow_symlinks=False) or stat.S_ISREG(entry.stat().st_mode))
    except OSError:  # a link to nothing: whoever opens it says so
        return False


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS


def _is_run(folder: Path, names: set[str]) -> bool:
    """Whether a run of decoct wrote the folder: its pictures are no photographs."""
    try:
        if "recipe.yaml" in names:
            with open_regular(folder / "recipe.yaml") as file:
                if file.readline(len(SAVED_RECIPE)) == SAVED_RECIPE.encode():
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
