"""A folder of pictures of any size and format, decoded one by one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from decoct.core.console import note, progress
from decoct.core.errors import DecoctError
from decoct.data.source_arrays import Labels, SourceArrays, stacked

_MAX_UNREADABLE = 0.5  # if a larger share of a folder cannot be read, refuse the folder


def read_folder(folder: Path, *, size: int, channels: int) -> SourceArrays:
    """The pictures of a folder; class sub-folders give labels.

    Lists and skips unreadable pictures. Raises `DecoctError` if too few can be read.
    """
    extensions = Image.registered_extensions()
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in extensions and f.is_file())
    if not files:
        raise DecoctError(f"{folder} holds no pictures that Pillow can read")
    kept: list[Path] = []
    pictures = _decoded(folder, files, kept, size, channels)
    return SourceArrays(stacked(pictures), len(files), lambda: _folder_labels(folder, kept))


def _decoded(
    folder: Path, files: list[Path], kept: list[Path], size: int, channels: int
) -> Iterator[NDArray[np.uint8]]:
    """The pictures that can be read; appends their files to `kept`."""
    unreadable = []
    with progress(f"reading {folder.name}", total=len(files)) as advance:
        for file in files:
            advance("")
            try:
                with Image.open(file) as picture:
                    pixels = fit(picture, size=size, channels=channels)
            except Exception as error:  # Pillow's plugins raise many types for a damaged file
                unreadable.append(f"{file.relative_to(folder)}: {_reason(error)}")
                continue
            kept.append(file)
            yield pixels
    _report_unreadable(folder, unreadable, len(files))


def _reason(error: Exception) -> str:
    return "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)


def _report_unreadable(folder: Path, unreadable: list[str], total: int) -> None:
    if not unreadable:
        return
    shown = "\n  ".join(unreadable[:10]) + ("\n  ..." if len(unreadable) > 10 else "")
    text = f"{folder}: {len(unreadable)} of {total} pictures cannot be read:\n  {shown}"
    if len(unreadable) > _MAX_UNREADABLE * total:
        raise DecoctError(f"{text}\ntoo few are left to continue")
    note(f"{text}\ncontinuing with the other {total - len(unreadable)}")


def _folder_labels(folder: Path, files: list[Path]) -> Labels:
    parents = [file.relative_to(folder).parts[0] for file in files if file.parent != folder]
    if len(parents) < len(files):
        return None, ()
    class_names = tuple(sorted(set(parents)))
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[parent] for parent in parents]), class_names


def fit(picture: Image.Image, *, size: int, channels: int) -> NDArray[np.uint8]:
    """One picture upright on white, shorter side scaled to `size`, centre-cropped: size x size x C.

    Raises `ValueError` for a picture of floating-point numbers, whose range is unknown.
    """
    picture.draft("RGB", (size, size))  # lets JPEG decode at a lower resolution; no-op elsewhere
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits: Pillow would clip values above 255
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    picture = picture.convert("RGB" if channels == 3 else "L")
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    array = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.uint8)
    return array.reshape(size, size, channels)
