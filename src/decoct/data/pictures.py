"""Pictures of any size and format, decoded one by one into squares of pixels."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from decoct.core import atomic
from decoct.core.ahead import ahead
from decoct.core.console import note, progress
from decoct.core.errors import DecoctError
from decoct.core.printable import brief, one_line
from decoct.core.readable import open_regular
from decoct.data.catalogue import Catalogue
from decoct.data.listing import picture_formats
from decoct.data.source_arrays import SourceArrays, stacked

_MAX_UNREADABLE = 0.5  # if a larger share of a source cannot be read, refuse the source
_THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
_AHEAD = 16  # pictures per thread
_HUGE = 2**24  # pixels: of such pictures only one is decoded at a time, to bound the memory
_one_huge = Lock()
_THINNEST = 256  # pixels a byte: more are in no photograph, but in files made to fill the memory
_LONGEST = 4  # shorter sides: what a picture has beyond them is cut off before it is scaled
_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits that cameras and scanners give a pixel
_TIFF_BITS, _TIFF_MAXIMUM = 258, 281  # the tags BitsPerSample and MaxSampleValue


def read_pictures(
    found: Catalogue, *, size: int, channels: int, report: Path | None = None
) -> SourceArrays:
    """The pictures of a catalogue; their classes give labels.

    Unreadable pictures are skipped and said, in a file `report` if it is given. Raises
    `DecoctError` if too few can be read.
    """
    kept: list[int] = []
    pictures = _readable(found, kept, size=size, channels=channels, report=report)
    return SourceArrays(stacked(pictures), len(found.files), lambda: found.labels(kept))


def _readable(
    found: Catalogue, kept: list[int], *, size: int, channels: int, report: Path | None
) -> Iterator[NDArray[np.uint8]]:
    """The pictures that can be read; appends their rows to `kept`."""
    unreadable = [f"{name}: {why}" for name, why in found.closed.items()]
    doing = f"reading {found.name}"
    for i, pixels in enumerate(decoded(found.files, size=size, channels=channels, doing=doing)):
        if isinstance(pixels, str):
            unreadable.append(f"{found.name_of(found.files[i])}: {pixels}")
        else:
            kept.append(i)
            yield pixels
    _report_unreadable(found, unreadable, report)


def _report_unreadable(found: Catalogue, unreadable: list[str], report: Path | None) -> None:
    if not unreadable:
        return
    unreadable = [one_line(line) for line in unreadable]
    total = len(found.files) + len(found.closed)
    count = f"{found.path}: {len(unreadable)} of {total} pictures cannot be read"
    shown = "\n  ".join(unreadable[:10]) + ("\n  ..." if len(unreadable) > 10 else "")
    if report is not None:
        atomic.write_text(report, "\n".join(unreadable) + "\n")
    if len(unreadable) > _MAX_UNREADABLE * total:
        raise DecoctError(f"{count}:\n  {shown}\ntoo few are left to continue")
    if report is not None:
        note(f"{count}: see {report}")
    else:
        note(f"{count}:\n  {shown}\ncontinuing with the other {total - len(unreadable)}")


def decoded(
    files: Sequence[Path], *, size: int, channels: int, doing: str
) -> Iterator[NDArray[np.uint8] | str]:
    """Every file as `fit` makes it, in order, or why it cannot be read; decoded in threads."""
    picture_formats()  # loads Pillow's plugins, before several threads do so at a time
    decode = partial(_decode, size=size, channels=channels)
    most = _AHEAD * _THREADS
    with without_warnings(), progress(doing, total=len(files)) as advance:
        for _, pixels in ahead(decode, files, most=most, threads=_THREADS):
            advance("")
            yield pixels


def _decode(file: Path, *, size: int, channels: int) -> NDArray[np.uint8] | str:
    try:
        with open_regular(file) as opened, open_picture(opened) as picture:
            return fit(picture, size=size, channels=channels)
    except Exception as error:  # Pillow's plugins raise many types for a damaged file
        return reason(error)


def open_picture(file: BufferedReader | BytesIO) -> Image.Image:
    """A picture of one of the formats that are read, of which nothing but the header is decoded.

    Pillow refuses what has more than 178 megapixels. Above 16, a file that is thousands of times
    smaller than its pixels is refused as well, with a `ValueError`.
    """
    size = file.seek(0, os.SEEK_END)
    picture = Image.open(file, formats=picture_formats())
    pixels = picture.width * picture.height
    if pixels > max(_HUGE, _THINNEST * size):
        raise ValueError(
            f"{pixels // 10**6} megapixels from {size} bytes are no photograph, and fill the memory"
        )
    return picture


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow's warnings of odd files are not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels; scale it down"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which is named beside it
    return brief(error)


def fit(picture: Image.Image, *, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture upright on white, shorter side scaled to `size`, centre-cropped: size x size x C.

    Of an animation it is the first frame. Grey of more than 8 bits is scaled by the range that the
    file declares or, if it declares none, by the least of 8, 10, 12, 14, 16, 24 and 32 bits that
    holds all of its values. Raises `ValueError` for a picture of floating-point numbers, whose
    range is unknown.
    """
    picture.draft("RGB", (size, size))  # lets JPEG decode at a lower resolution; no-op elsewhere
    huge = picture.width * picture.height > _HUGE
    with _one_huge if huge else nullcontext():
        return _square(picture, size=size, channels=channels)


def _square(picture: Image.Image, *, size: int, channels: int) -> NDArray[np.uint8]:
    bits = _declared_bits(picture)
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    picture = _without_far_ends(picture)
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # more than 8 bits: Pillow would clip values above 255
        picture = Image.fromarray(_eight_bits(np.asarray(picture), bits))
    if picture.has_transparency_data:
        rgba = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    mode = "RGB" if channels == 3 else "L"
    picture = picture if picture.mode == mode else picture.convert(mode)
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    array = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.uint8)
    return array.reshape(size, size, channels)


def _without_far_ends(picture: Image.Image) -> Image.Image:
    """Cut off what lies far from the centre square, which scaling would blow up to gigabytes."""
    longest = _LONGEST * min(picture.size)
    cuts = [max(0, (side - longest) // 2) for side in picture.size]
    if not any(cuts):
        return picture
    left, top = cuts
    return picture.crop((left, top, picture.width - left, picture.height - top))


def _declared_bits(picture: Image.Image) -> int | None:
    """The bits of a pixel's range, if the file says so."""
    if picture.format in ("PPM", "JPEG2000"):
        return 16  # to which Pillow has scaled what is more than 8
    tags = getattr(picture, "tag_v2", {})
    if _TIFF_MAXIMUM in tags:
        return int(np.max(tags[_TIFF_MAXIMUM])).bit_length()
    bits = int(np.max(tags.get(_TIFF_BITS, 0)))
    return bits if 8 < bits < 16 else None  # 16 and 32 are also those of what is stored in them


def _eight_bits(values: NDArray[np.integer], bits: int | None) -> NDArray[np.uint8]:
    """The upper eight of the `bits` bits of a range; what is below or above it is clipped."""
    if bits is None:
        bits = next(depth for depth in _DEPTHS if int(values.max()) < 2**depth)
    return (values >> max(0, bits - 8)).clip(0, 255).astype(np.uint8)
