"""A distilled set in formats that do not need decoct: PNG images, targets, and how to train."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.rule import TrainingRule
from decoct.core import atomic, storage
from decoct.core.errors import DecoctError
from decoct.core.paths import without_paths
from decoct.data.images import normalise

_README = """\
{count} images of {size} x {size} pixels ({channels}), made by {method}, and their targets.

  00000.png ...   the images, rounded to 8 bits a channel
  targets.npy     float32, {shape}: row i belongs to image i
{files}  set.json        the same information, for programs

To train on them, normalise each channel: (pixel / 255 - mean) / std, with
  mean  {mean}
  std   {std}
and minimise the {what}, with
  {by}
This learning rate belongs to this optimiser; if you use another one, search for another rate.

Rounding changed a normalised pixel by {rms:.2g} (root mean square); {clipped:.2%} of the values lay
outside the range of a picture and were clipped.
"""
_VIEWS = """\
  views.npy       uint8, {count} x {views} x 9: how to make each view from its image

To make a view, scale its image's channels to 0 to 1. The first four numbers, divided by 255, are
left, top, width and height. The crop is width x height of the image; left and top say which share
of the remaining room is before it. Enlarge it bilinearly, and mirror it if the fifth number is 1.
The next three, divided by 128, are factors: for all channels, for their distance to the view's
mean, and for HSV's saturation. The last one minus 128, divided by 256, rotates the hue. Clip to 0
and 1 after each.

"""
_LABELLER = """\
  labeller.safetensors   the network that labels any view of any image

The set is meant to be trained on in fresh random views, a new one at every step, with the targets
that this network gives them; targets.npy has those of the images themselves. To label views, of
shape B x C x H x W from 0 to 1: decoct.Assistant.load("labeller.safetensors").label(views)

"""
_TO_TARGETS = " between the network's output and the target"
_OF_VIEWS = " of the network's outputs for two augmented views of each image"


def export(path: Path, *, out: Path, uint8: bool = False) -> Path:
    """Write the distilled set at `path` as PNG images, `targets.npy`, `set.json` and `README.txt`.

    `out` is a new or empty folder. With `uint8` it is one safetensors file instead (or the folder
    for it), about a quarter as large, which `load_distilled` reads back. The PNG files are clipped
    to what a person would see, from black to white. The uint8 file has a range of its own and clips
    nothing, so train on that one if you can. Returns the folder or the file. Raises `DecoctError`
    if `path` is not a complete distilled set, or `out` already contains something.
    """
    distilled = _for_others(load_distilled(_set_file(Path(path))))
    if uint8:
        return _export_file(distilled, Path(out))
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DecoctError(f"{out} already exists and is not an empty folder; name a new one")
    for number, pixels in enumerate(distilled.pixels()):
        with atomic.new_file(out / f"{number:05d}.png") as temporary:
            to_picture(pixels).save(temporary, format="PNG")
    with atomic.new_file(out / "targets.npy") as temporary, temporary.open("wb") as file:
        np.save(file, plain_targets(distilled).numpy().astype(np.float32))
    if distilled.views is not None:
        with atomic.new_file(out / "views.npy") as temporary, temporary.open("wb") as file:
            np.save(file, distilled.views.numpy())
    if distilled.labeller is not None:
        distilled.labeller.save(out / "labeller.safetensors")
    facts = _facts(distilled)
    atomic.write_text(out / "set.json", json.dumps(facts, indent=1) + "\n")
    atomic.write_text(out / "README.txt", _readme(facts, distilled.rule))
    return out


def _set_file(path: Path) -> Path:
    """The set's file; `path` may be the folder that holds it, or a run with only one set."""
    file = path / "distilled.safetensors" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        sets = sorted(path.glob("*/distilled.safetensors"))
        if len(sets) != 1:
            within = ", ".join(found.parent.name for found in sets)
            said = f"sets only within: name one of {within}" if sets else "no distilled set"
            raise DecoctError(f"{path} is a folder that holds {said}")
        (file,) = sets
    if file.exists() and storage.read_header(file).get("kind") == "encoder":
        raise DecoctError(f"{file} is an encoder; say --to timm, torch, onnx or safetensors")
    return file


def _for_others(distilled: DistilledSet) -> DistilledSet:
    """The set without the paths of this machine."""
    labeller = distilled.labeller
    if labeller is not None:
        labeller = replace(labeller, provenance=without_paths(labeller.provenance))
    provenance = without_paths(distilled.provenance)
    return replace(distilled, labeller=labeller, provenance=provenance)


def plain_targets(distilled: DistilledSet) -> Tensor:
    """The stored targets; if there is a labeller, its targets for the images themselves."""
    if distilled.labeller is None:
        return distilled.targets
    return distilled.labeller.label(distilled.pixels().float() / 255)


def _export_file(distilled: DistilledSet, out: Path) -> Path:
    file = out if out.suffix == ".safetensors" else out / "distilled.safetensors"
    if file.exists():
        raise DecoctError(f"{file} already exists; name a new file")
    distilled.save(file, uint8=True)
    return file


def to_picture(pixels: Tensor) -> Image.Image:
    """uint8 C x H x W as a Pillow image, grey or colour.

    >>> import torch
    >>> to_picture(torch.zeros(3, 8, 8, dtype=torch.uint8)).mode
    'RGB'
    """
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def _facts(distilled: DistilledSet) -> dict[str, Any]:
    """The contents of `set.json`."""
    unit = distilled.images * distilled.std.view(1, -1, 1, 1) + distilled.mean.view(1, -1, 1, 1)
    rounded = normalise(distilled.pixels(), distilled.mean, distilled.std)
    return {
        "count": len(distilled.images),
        "views": distilled.views_each,
        "described": distilled.views is not None,  # by numbers in views.npy
        "size": distilled.size,
        "channels": distilled.channels,
        "labelled": distilled.labeller is not None,  # by the network in labeller.safetensors
        "dimensions": distilled.dimensions,
        "method": distilled.method,
        "mean": distilled.mean.tolist(),
        "std": distilled.std.tolist(),
        "normalise": "(pixel / 255 - mean) / std",
        "loss": _loss(distilled),
        "rule": asdict(distilled.rule),
        "network": asdict(distilled.network),
        "provenance": distilled.provenance,
        "rounding": {
            "rms": float((rounded - distilled.images).square().mean().sqrt()),
            "clipped": float(((unit < -0.5 / 255) | (unit > 255.5 / 255)).float().mean()),
        },
    }


def _loss(distilled: DistilledSet) -> str:
    if distilled.has_targets:
        return "mean squared error"
    return f"{distilled.provenance['objective']['algorithm']} loss"


def _readme(facts: dict[str, Any], rule: TrainingRule) -> str:
    shape = [facts["count"], facts["views"], facts["dimensions"]]
    if not facts["described"]:
        del shape[1]
    return _README.format(
        **{
            "shape": " x ".join(map(str, shape)),
            "files": _VIEWS.format(**facts) * facts["described"] + _LABELLER * facts["labelled"],
            **facts,
            "by": rule,
            **facts["rounding"],
            "channels": "grey" if facts["channels"] == 1 else "RGB",
            "what": facts["loss"] + (_TO_TARGETS if facts["dimensions"] else _OF_VIEWS),
            "mean": " ".join(f"{value:.6f}" for value in facts["mean"]),
            "std": " ".join(f"{value:.6f}" for value in facts["std"]),
        }
    )
