"""A folder of pictures as people have them: 2,000 icons in many formats, some of them spoiled.

apt-get download oxygen-icon-theme gnome-icon-theme mate-icon-theme elementary-xfce-icon-theme \\
    lxde-icon-theme deepin-icon-theme tango-icon-theme breeze-icon-theme gnome-colors-common \\
    gnome-themes-extra-data && for package in *.deb; do dpkg -x $package icons; done
python benchmarks/pictures_folder.py icons/usr/share/icons FOLDER [--count 2000] [--spoiled 30]

The icons' contexts (actions, apps, devices, ...) become class folders. The largest picture of each
icon is taken and kept in one of the formats below, by turns; the last `--spoiled` are damaged.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from PIL import ExifTags, Image

_CONTEXTS = ("actions", "apps", "categories", "devices", "emblems", "mimetypes", "places", "status")
_LEAST = 48  # pixels


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("icons", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--spoiled", type=int, default=30)
    flags = parser.parse_args()
    draws = random.Random(0)
    icons = largest(flags.icons)
    draws.shuffle(icons)
    written = []
    for number, icon in enumerate(icons[: flags.count]):
        folder = flags.out / context(icon)
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(icon) as picture:
            suffix, save = FORMATS[number % len(FORMATS)]
            file = folder / f"{number:04d} {icon.stem}.{suffix}"
            save(picture.convert("RGBA"), file)
        written.append(file)
    for number, file in enumerate(written[-flags.spoiled :]):
        spoil(file, number)
    print(f"{len(written)} pictures in {flags.out}, {min(flags.spoiled, len(written))} spoiled")


def context(icon: Path) -> str:
    """The kind of thing an icon is for: a folder above it, or beside its size."""
    return next(part for part in icon.parts[::-1] if part in _CONTEXTS)


def largest(root: Path) -> list[Path]:
    """The largest picture of each icon of each theme, in a fixed order."""
    found: dict[tuple[str, str, str], tuple[int, Path]] = {}
    for file in sorted(root.rglob("*.png")):
        if file.is_symlink() or not set(file.parts) & set(_CONTEXTS):
            continue
        with Image.open(file) as picture:
            side = min(picture.size)
        key = (file.relative_to(root).parts[0], context(file), file.stem)
        if side >= _LEAST and side > found.get(key, (0, file))[0]:
            found[key] = side, file
    return [file for _, file in found.values()]


def _jpeg(picture: Image.Image, file: Path) -> None:
    """On its side, with the orientation that sets it upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn right
    on_white(picture).rotate(90, expand=True).save(file, exif=exif, quality=88)


def _cmyk(picture: Image.Image, file: Path) -> None:
    on_white(picture).convert("CMYK").save(file, format="JPEG")


def _animated(picture: Image.Image, file: Path) -> None:
    frames = [on_white(picture), Image.new("RGB", picture.size, "black")]
    frames[0].save(file, save_all=True, append_images=frames[1:])


def _deep(picture: Image.Image, file: Path) -> None:
    """Grey in 16 bits, of which 12 are used."""
    grey = on_white(picture).convert("L").convert("I").point(lambda value: value * 16)
    grey.convert("I;16").save(file)


def on_white(picture: Image.Image) -> Image.Image:
    """Without transparency."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _as(mode: str) -> Callable[[Image.Image, Path], None]:
    def save(picture: Image.Image, file: Path) -> None:
        (picture if mode == "RGBA" else on_white(picture).convert(mode)).save(file)

    return save


FORMATS: tuple[tuple[str, Callable[[Image.Image, Path], None]], ...] = (
    ("png", _as("RGBA")),
    ("jpg", _jpeg),
    ("webp", _as("RGBA")),
    ("JPG", _cmyk),
    ("gif", _animated),
    ("png", _as("P")),
    ("tif", _as("RGB")),
    ("tiff", _deep),
    ("bmp", _as("RGB")),
    ("png", _as("L")),
)


def spoil(file: Path, number: int) -> None:
    """Cut it short, empty it, or fill it with something else."""
    content = file.read_bytes()
    ways = (content[: len(content) // 3], b"", b"<html>not found</html>", b"\0" * len(content))
    file.write_bytes(ways[number % len(ways)])


if __name__ == "__main__":
    main()
