"""Emoji of four vendors, with their nine groups as classes; an emoji's pictures are on one side."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packages import FLUENT, GOOGLE, OPENMOJI, TWITTER, npm, read_npm
from pictures import Picture, distinct, is_test, make_tile
from PIL import Image

RENDER_SIZE = 64


def slug(name: str) -> str:
    """A name in the form in which icons are named.

    >>> slug("HUGGING FACE")
    'hugging-face'
    """
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def render(icons: dict[str, Any], name: str) -> bytes:
    """An icon as a PNG of 64 x 64 px. (A few Fluent ones are 33 high or wide: they shrink.)"""
    import resvg_py  # not a dependency of decoct: build.py says if it is missing

    icon = icons["icons"][name]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{RENDER_SIZE}" height="{RENDER_SIZE}" '
        f'viewBox="0 0 {width} {height}">'
    )
    svg = f"{root}{icon['body']}</svg>"
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_SIZE, skip_system_fonts=True))


def fluent_name(icons: dict[str, Any], names: list[str]) -> str | None:
    """The first of the names that the Fluent set has, ignoring aliases."""
    return next((name for name in names if name in icons["icons"]), None)


def draw(cache: Path) -> Iterator[Picture]:
    """Each emoji in the order of the Google package's list: Google, Twitter, OpenMoji, Fluent."""
    google = read_npm(npm(GOOGLE, cache), "", ".json")
    pngs = [
        read_npm(npm(package, cache), f"img/{vendor}/64/", ".png")
        for package, vendor in ((GOOGLE, "google"), (TWITTER, "twitter"))
    ]
    openmoji = read_npm(npm(OPENMOJI, cache), "", ".json")
    openmoji_names = json.loads(openmoji["chars.json"])
    openmoji_icons = json.loads(openmoji["icons.json"])
    fluent_icons = json.loads(read_npm(npm(FLUENT, cache), "", "icons.json")["icons.json"])
    for emoji in json.loads(google["emoji.json"]):
        if emoji["category"] == "Component":  # skin tones by themselves
            continue
        points = emoji["unified"].lower()
        name = openmoji_names.get(points) or openmoji_names[points.replace("-fe0f", "")]
        drawn = [png[emoji["image"]] for png in pngs] + [render(openmoji_icons, name)]
        others = [slug(emoji["short_name"]), slug(emoji["name"])]
        if fluent := fluent_name(fluent_icons, [name, *others]):
            drawn.append(render(fluent_icons, fluent))
        for png in drawn:
            tile = make_tile(Image.open(io.BytesIO(png)))
            assert tile is not None, emoji["unified"]
            yield Picture(tile, emoji["category"], is_test(emoji["unified"]))


def pictures(cache: Path) -> list[Picture]:
    """All emoji, without duplicate pictures."""
    return distinct(draw(cache))
