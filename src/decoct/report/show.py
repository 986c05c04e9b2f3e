"""Describe an artefact, and draw it if it contains images."""

import math
from pathlib import Path

from PIL import Image
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.core import atomic, storage
from decoct.core.errors import DecoctError
from decoct.core.forms import understood
from decoct.data.images import Images
from decoct.report.descriptions import DESCRIBERS, describe_experts
from decoct.report.image_grid import image_grid, paired_grid, png_bytes

_EXPERTS = "[0-9]*.safetensors"  # as `Trajectories` names them
_SIDE = 1600  # pixels: approximate width of a picture
_LIMIT = 400  # images in a picture
_ROWS, _VIEWS = 8, 16  # number of images whose views are shown, and of views for each


def describe(path: Path | str) -> str:
    """Describe an artefact in a few lines: any file of ours, a stage's folder or a run's.

    Raises `DecoctError` for a path that is missing, damaged or not ours.
    """
    path = _artefact(Path(path))
    if path.is_dir():
        return describe_experts(path)
    with understood(path):
        return DESCRIBERS[_kind(path)](path)


def show(path: Path | str, *, out: Path | None = None) -> str:
    """Describe an artefact; draw images and distilled sets as a PNG next to it, or at `out`.

    In the picture of a synthetic set, the real images that it started from are on the left, the
    synthetic ones on the right. If a set has views, each image has a row of them. Raises the same
    `DecoctError` as `describe`.
    """
    path = _artefact(Path(path))
    text, drawn = describe(path), picture(path)
    if drawn is None:
        return text
    image, caption = drawn
    target = out or path.with_suffix(".png")
    if target.is_dir():
        target /= path.with_suffix(".png").name
    try:
        with atomic.new_file(target) as temporary:
            temporary.write_bytes(png_bytes(image))
    except OSError as error:
        raise DecoctError(f"{target} cannot be written: {error.strerror}") from error
    return f"{text}\n{caption}: {target}"


def picture(path: Path) -> tuple[Image.Image, str] | None:
    """The image grid of an artefact that has one, and its caption."""
    kind = "" if path.is_dir() else _kind(path)
    if kind not in ("images", "distilled"):
        return None
    start = None
    if kind == "images":
        images = Images.load(path)
        total, pixels = len(images), images.pixels[:_LIMIT]
    else:
        distilled = DistilledSet.load(path)
        if distilled.has_views:
            return _views(distilled)
        start, pixels = distilled.initial_pixels(), distilled.pixels()
        total = len(pixels)
    count = f"the first {_LIMIT} of {total}" if total > _LIMIT else f"all {total}"
    if start is None:
        return _grid(pixels), f"{count} images"
    return _grid(start, pixels), f"{count} images, real on the left, synthetic on the right"


def _views(distilled: DistilledSet) -> tuple[Image.Image, str]:
    """A row for each image: the image and its next views."""
    columns = distilled.views_shown(_VIEWS)
    pixels = distilled.view_pixels(images=_ROWS, views=columns)
    scale = min(4, max(1, _SIDE // (columns * (pixels.shape[3] + 2))))
    rows = len(pixels) // columns
    said = f"{rows} of {len(distilled.images)} images, a row each: {columns} of its views, "
    return image_grid(pixels, columns=columns, scale=scale), f"{said}the first the image itself"


def _grid(*parts: Tensor) -> Image.Image:
    columns = math.ceil(math.sqrt(min(_LIMIT, len(parts[0]))))
    fitting = _SIDE // (len(parts) * columns * (parts[0].shape[3] + 2))
    scale = min(4, max(1, fitting))
    if len(parts) == 1:
        return image_grid(parts[0], columns=columns, scale=scale, limit=_LIMIT)
    return paired_grid(*parts, columns=columns, scale=scale, limit=_LIMIT)


def _artefact(path: Path) -> Path:
    """The file that a path stands for; the folder itself if it holds experts."""
    if not path.exists():
        raise DecoctError(f"{path} does not exist")
    if not path.is_dir():
        return path
    if (path / "run.json").is_file():
        return path / "run.json"
    if any(path.glob(_EXPERTS)):
        return path
    found = [f for f in sorted(path.iterdir()) if f.name in _STAGE_FILES]
    if len(found) != 1:
        raise DecoctError(
            f"folder {path} holds no run, no experts and no single artefact of decoct"
        )
    return found[0]


_STAGE_FILES = {
    "images.safetensors",
    "teacher.safetensors",
    "targets.safetensors",
    "difficulty.safetensors",
    "assistant.safetensors",
    "findings.json",
    "error.json",
    "distilled.safetensors",
    "encoder.safetensors",
    "probe.json",
    "scores.json",
}


def _kind(path: Path) -> str:
    """The kind in a file's header; raises `DecoctError` if it is none of ours."""
    if path.suffix not in (".json", ".safetensors"):
        raise DecoctError(
            f"{path} is no artefact of decoct: those are .safetensors and .json files, or a folder"
        )
    kind = storage.read_header(path)["kind"]
    if not isinstance(kind, str) or kind not in DESCRIBERS:
        raise DecoctError(
            f"{path} holds {str(kind)[:40]!r}, which this version of decoct cannot describe"
        )
    return kind
