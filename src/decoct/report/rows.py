"""A distilled set as the rows of a Parquet file: images and targets, for any program."""

import io
from pathlib import Path
from typing import Any

import torch

from decoct.artefacts.distilled import DistilledSet
from decoct.core import atomic
from decoct.core.console import progress
from decoct.core.extras import import_extra
from decoct.core.shapes import Pixels
from decoct.data.images import denormalise
from decoct.report.export import plain_targets, to_picture

_AT_ONCE = 512  # views that are made together


def write_rows(distilled: DistilledSet, path: Path) -> None:
    """Write the Parquet file; `rows_said` says what its rows are.

    `image` is a PNG, `target` D float32 (not there if the set has none), and `picture` the number
    of the image that a stored view is of (not there without stored views).
    """
    datasets: Any = import_extra("datasets", extra="hf", package="datasets")
    features: dict[str, Any] = {"image": datasets.Image()}
    columns: dict[str, Any] = {"image": []}
    with progress("writing images", total=len(distilled)) as advance:
        for rows in torch.arange(len(distilled)).split(_AT_ONCE):
            for pixels in _pixels(distilled, rows):
                columns["image"].append({"bytes": _png(pixels), "path": None})
                advance("")
    if distilled.has_targets:
        kind = datasets.Value("float32")
        features["target"] = datasets.Sequence(kind, length=distilled.dimensions)
        columns["target"] = plain_targets(distilled).flatten(0, -2).float().numpy()
    if distilled.views is not None:
        features["picture"] = datasets.Value("int32")
        columns["picture"] = (torch.arange(len(distilled)) // distilled.views_each).numpy()
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # ours were shown already
    try:
        with atomic.new_file(path) as temporary:
            table.to_parquet(temporary)
    finally:
        if bars:
            datasets.enable_progress_bars()


def rows_said(distilled: DistilledSet) -> str:
    """What a row is, in words."""
    if distilled.labeller is not None:
        return (
            "A row is an image, and the target that the set's network gives it. Training on the "
            "set itself draws fresh views of the images, which that network labels; the network "
            "is only in the safetensors file, and the rows alone teach less."
        )
    if distilled.views is not None:
        return (
            f"A row is a view, and its own target. Each image has {distilled.views_each} rows one "
            "after another, of which the first is the image itself; picture is the image's "
            "number. Pixels are rounded to 8 bits."
        )
    row = "A row is an image, and its target." if distilled.has_targets else "A row is an image."
    learnt = " Learnt pixels go beyond black and white; here they are clipped, to 8 bits."
    return row + learnt * (distilled.initial is not None)


def _pixels(distilled: DistilledSet, rows: torch.Tensor) -> Pixels:
    """The images of some rows, as a person would see them."""
    if distilled.views is None:
        return denormalise(distilled.images[rows], distilled.mean, distilled.std)
    return denormalise(distilled.read(rows)[0], distilled.mean, distilled.std)


def _png(pixels: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    to_picture(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
