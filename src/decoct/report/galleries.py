"""The pictures of a run's sets, as they stand on the page."""

import base64
from dataclasses import dataclass

from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.report.image_grid import image_grid, png_bytes

_IMAGES, _FIRST = 400, 48  # maximum number of images on the page, and those shown without unfolding
_ROWS, _VIEWS = 8, 8  # number of images whose views are shown, and of views for each
_SIDES = (56, 96)  # pixels: small images are enlarged, by a whole number, to a size in this range


@dataclass(frozen=True)
class Gallery:
    """Pictures of one set: groups of PNG data URIs that belong together."""

    method: str
    kind: str  # "pairs", "single" or "views"
    text: str  # what is shown
    side: int  # pixels on the page
    first: list[list[str]]
    rest: list[list[str]]  # shown when unfolded


def gallery(method: str, seed: int, distilled: DistilledSet) -> Gallery:
    """A set's images: with the real ones they were learnt from, with their views, or alone."""
    side = side_of(distilled.size)
    if distilled.has_views:
        text = (
            "Some of the images that it keeps, each with views that a network sees while training. "
            f"Every view has its own target; seed {seed}."
        )
        return Gallery(method, "views", text, side, _views(distilled), [])
    start, shown = distilled.initial_pixels(), distilled.pixels()[:_IMAGES]
    found = [[data_uri(image)] for image in shown]
    if start is not None:
        found = [[data_uri(real), *made] for real, made in zip(start, found, strict=False)]
    count = _how_many(len(shown), len(distilled.images), paired=start is not None)
    text = f"{_what(distilled)}: {count}, seed {seed}."
    kind = "single" if start is None else "pairs"
    return Gallery(method, kind, text, side, found[:_FIRST], found[_FIRST:])


def _what(distilled: DistilledSet) -> str:
    if distilled.initial is not None:
        return (
            "Each pair shows the real image that distillation started from on the left, and the "
            "learnt image on the right"
        )
    return "The real images that it keeps" if distilled.is_real else "The synthetic images"


def _how_many(shown: int, total: int, *, paired: bool) -> str:
    """In words.

    >>> _how_many(60, 60, paired=True), _how_many(400, 500, paired=False)
    ('all 60 pairs', 'the first 400 of 500')
    """
    return ("all" if shown == total else f"the first {shown} of") + f" {total}{' pairs' * paired}"


def _views(distilled: DistilledSet) -> list[list[str]]:
    """The first views of a few images: a row for each; the first is the image."""
    shown = distilled.views_shown(_VIEWS)
    found = distilled.view_pixels(images=_ROWS, views=shown)
    return [[data_uri(view) for view in row] for row in found.split(shown)]


def side_of(size: int) -> int:
    """The size, on the page, of an image of `size` pixels.

    >>> side_of(32), side_of(224)
    (64, 96)
    """
    return min(_SIDES[1], max(size, size * round(_SIDES[0] / size)))


def data_uri(pixels: Tensor) -> str:
    """An image (uint8, C x H x W) as the address of a PNG."""
    png = png_bytes(image_grid(pixels.unsqueeze(0)).convert("RGB"))
    return "data:image/png;base64," + base64.b64encode(png).decode()
