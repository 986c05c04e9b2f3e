"""Build the emoji data set that ships inside ``decoct.data.emoji``.

The art and the labels come from three npm packages, pinned in ``PACKAGES``:

* ``emoji-datasource-google``: Noto pictures (64 px PNG), groups and subgroups;
* ``@iconify-json/fluent-emoji``: Fluent pictures, as SVG bodies;
* ``unicode-emoji-json``: the Unicode (CLDR) names, after which the Fluent icons are named.

Each picture is cropped to its visible part, padded to a square, laid on white and resized to
32 x 32. All tiles go into one lossless WebP sheet, row by row, in the order of ``index.json``.
A hash of an emoji's code points puts it into train or test, so both vendors' pictures of it are in
the same split. Skin-tone variants are skipped; of exact duplicates only the first one is kept.

Usage (needs ``pip install pillow resvg-py``, and ``npm`` unless ``--packages`` is given)::

    python scripts/build_emoji.py [--packages DIR] [--out DIR]

``--packages`` takes a folder with the three ``.tgz`` files that ``npm pack`` writes. The result is
the same on every run with the same versions of Pillow and resvg-py.
"""

import argparse
import io
import json
import re
import subprocess
import tarfile
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

NOTO = "emoji-datasource-google@16.0.0"
FLUENT = "@iconify-json/fluent-emoji@1.2.7"
NAMES = "unicode-emoji-json@0.8.0"
PACKAGES = (NOTO, FLUENT, NAMES)

SIZE = 32  # side of a tile
RENDER_SIZE = 64  # width at which SVGs are drawn, and that of the Noto PNGs
COLUMNS = 64  # tiles in a row of the sheet; 64 x 32 = 2048 px, far below WebP's 16383
TEST_PER_MILLE = 250

WRONG_IN_NOTO = {"1F1E8-1F1F6"}  # Sark: the package has Saudi Arabia's flag instead

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "src" / "decoct" / "data" / "emoji"

# Fluent icons that are not named by the slug of today's Unicode name: slug -> icon.
FLUENT_NAMES = {
    "black-bird": "blackbird",
    "deaf-man": "man-deaf",
    "deaf-person": "person-deaf",
    "deaf-woman": "woman-deaf",
    "elf": "person-elf",
    "enraged-face": "pouting-face",
    "face-with-crossed-out-eyes": "knocked-out-face",
    "fairy": "person-fairy",
    "genie": "person-genie",
    "mage": "person-mage",
    "man-blond-hair": "man-blonde-hair",
    "men-with-bunny-ears": "man-with-bunny-ears",
    "men-wrestling": "man-wrestling",
    "mermaid": "woman-merpeople",
    "merman": "man-merpeople",
    "merperson": "person-merpeople",
    "people-with-bunny-ears": "person-with-bunny-ears",
    "people-wrestling": "person-wrestling",
    "person-blond-hair": "person-blonde-hair",
    "phoenix": "phoenix-bird",
    "pinata": "piata",
    "red-triangle-pointed-up": "red-triangle",
    "smiling-face-with-open-hands": "hugging-face",
    "superhero": "person-superhero",
    "supervillain": "person-supervillain",
    "vampire": "person-vampire",
    "woman-blond-hair": "woman-blonde-hair",
    "women-with-bunny-ears": "woman-with-bunny-ears",
    "women-wrestling": "woman-wrestling",
    "zombie": "person-zombie",
}


@dataclass(frozen=True)
class Emoji:
    """One emoji: its code points (such as ``1F468-200D-1F33E``), its labels, its Noto file."""

    code_point: str
    name: str
    group: str
    subgroup: str
    noto_file: str


@dataclass(frozen=True)
class Picture:
    """One vendor's picture of an emoji, as a 32 x 32 RGB tile."""

    vendor: str
    emoji: Emoji
    tile: Image.Image


class Package:
    """An npm package in a ``.tgz`` file; reads the parts that are needed into memory."""

    def __init__(self, folder: Path, spec: str) -> None:
        """Read the package ``spec`` (``name@version``) from its ``.tgz`` file in ``folder``."""
        name = spec.lstrip("@").replace("/", "-").replace("@", "-")
        self._files: dict[str, bytes] = {}
        wanted = re.compile(r"package/(?:[\w-]+\.json|img/google/64/.*\.png)")
        with tarfile.open(folder / f"{name}.tgz") as tar:
            for member in tar:
                if wanted.fullmatch(member.name) and (file := tar.extractfile(member)):
                    self._files[member.name.removeprefix("package/")] = file.read()

    def read(self, path: str) -> bytes:
        """The content of the file at ``path`` in the package."""
        return self._files[path]

    def json(self, path: str) -> Any:
        """The content of the JSON file at ``path`` in the package."""
        return json.loads(self.read(path))


def fetch(folder: Path) -> None:
    """Download the packages from the npm registry into ``folder``."""
    subprocess.run(["npm", "pack", "--silent", *PACKAGES], cwd=folder, check=True)


def slug(name: str) -> str:
    """The name in the form in which the icons are named: ``keycap #`` -> ``keycap-hashtag``."""
    name = name.replace("#", "hashtag").replace("*", "asterisk").replace("&", "and")
    name = re.sub("[.!'\u2019\u201c\u201d]", "", name)  # quotes: straight, curly
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")


def list_emoji(noto: Package, names: Package) -> list[Emoji]:
    """The emoji in Unicode's order; skin tones are not emoji of their own ('Component')."""
    by_code_point = {
        "-".join(f"{ord(char):04X}" for char in text): str(entry["name"])
        for text, entry in names.json("data-by-emoji.json").items()
    }
    entries = [
        entry
        for entry in noto.json("emoji.json")
        if entry["category"] != "Component" and entry["unified"] not in WRONG_IN_NOTO
    ]
    return [
        Emoji(
            code_point=entry["unified"],
            name=by_code_point[entry["unified"]],
            group=entry["category"],
            subgroup=entry["subcategory"],
            noto_file=f"img/google/64/{entry['image']}",
        )
        for entry in sorted(entries, key=lambda e: int(e["sort_order"]))
    ]


def fluent_svg(icons: dict[str, Any], emoji: Emoji) -> str | None:
    """The Fluent picture as an SVG document, or None if the set has none for this emoji."""
    name = slug(emoji.name)
    name = FLUENT_NAMES.get(name, name)
    # An alias is another icon, possibly mirrored ('pointing right' from 'pointing left').
    alias = icons["aliases"].get(name, {})
    icon = icons["icons"].get(alias.get("parent", name))
    if icon is None:
        return None
    # A few icons have a size of their own.
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    body = icon["body"]
    if alias.get("hFlip"):
        body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
    root = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    return f"{root}{body}</svg>"


def render(svg: str) -> bytes:
    """The SVG as a PNG, RENDER_SIZE pixels wide, with its own aspect ratio."""
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_SIZE, skip_system_fonts=True))


def make_tile(png: bytes) -> Image.Image:
    """The visible part of the picture, centred in a white square, at SIZE x SIZE (RGB)."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    side = max(image.size)
    corner = ((side - image.width) // 2, (side - image.height) // 2)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, corner, mask=image)
    return square.resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3)


def draw_pictures(noto: Package, fluent: Package, names: Package) -> Iterator[Picture]:
    """Both vendors' pictures of every emoji, in the order of the emoji."""
    icons = fluent.json("icons.json")
    for emoji in list_emoji(noto, names):
        yield Picture("noto", emoji, make_tile(noto.read(emoji.noto_file)))
        svg = fluent_svg(icons, emoji)
        if svg is not None:
            yield Picture("fluent", emoji, make_tile(render(svg)))


def drop_duplicates(pictures: Iterator[Picture]) -> list[Picture]:
    """The pictures without those whose pixels equal an earlier one's (mostly flags)."""
    unique: dict[bytes, Picture] = {}
    for picture in pictures:
        unique.setdefault(picture.tile.tobytes(), picture)
    return list(unique.values())


def split_of(code_point: str) -> str:
    """The split of an emoji, by a hash, so that adding emoji later moves no others."""
    return "test" if zlib.crc32(code_point.encode()) % 1000 < TEST_PER_MILLE else "train"


def make_sheet(pictures: list[Picture]) -> Image.Image:
    """All tiles in one RGB image, COLUMNS in a row; the rest of the last row is white."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIZE, rows * SIZE), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture.tile, (i % COLUMNS * SIZE, i // COLUMNS * SIZE))
    return sheet


def make_index(pictures: list[Picture]) -> str:
    """The labels as JSON, one line per picture, so that diffs of the set are readable."""
    groups = list(dict.fromkeys(p.emoji.group for p in pictures))
    subgroups = list(dict.fromkeys(p.emoji.subgroup for p in pictures))
    head = {
        "sources": list(PACKAGES),
        "size": SIZE,
        "columns_in_sheet": COLUMNS,
        "groups": groups,
        "subgroups": subgroups,
        "fields": ["vendor", "code_point", "name", "group", "subgroup", "split"],
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    rows = [
        [
            p.vendor,
            p.emoji.code_point,
            p.emoji.name,
            groups.index(p.emoji.group),
            subgroups.index(p.emoji.subgroup),
            split_of(p.emoji.code_point),
        ]
        for p in pictures
    ]
    images = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return "{\n" + ",\n".join(lines) + ',\n"images": [\n' + images + "\n]\n}\n"


def build(packages: Path, out: Path) -> None:
    """Write ``emoji.webp`` and ``index.json`` into ``out``."""
    noto, fluent, names = (Package(packages, spec) for spec in PACKAGES)
    pictures = drop_duplicates(draw_pictures(noto, fluent, names))
    out.mkdir(parents=True, exist_ok=True)
    make_sheet(pictures).save(out / "emoji.webp", lossless=True, quality=100, method=6)
    (out / "index.json").write_text(make_index(pictures), encoding="utf-8")
    print(f"{len(pictures)} pictures, {(out / 'emoji.webp').stat().st_size} bytes")


def main() -> None:
    """Read the arguments, fetch what is missing, build."""
    parser = argparse.ArgumentParser(description="Build the emoji data set of decoct.")
    parser.add_argument("--packages", type=Path, help="folder with the npm packages' .tgz files")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write into")
    args = parser.parse_args()
    if args.packages is not None:
        build(args.packages, args.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        fetch(Path(folder))
        build(Path(folder), args.out)


if __name__ == "__main__":
    main()
