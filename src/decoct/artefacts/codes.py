"""Codes: compact ways to keep images, targets or weights in a file, each with its inverse.

What is coded is used as the code gives it back, so a set trains the same before and after it is
saved.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from decoct.artefacts.code_forms import CODE_FORMS
from decoct.artefacts.factored import factored_images, factored_targets
from decoct.artefacts.target_codes import from_pca, from_product_quantised
from decoct.core.errors import DecoctError
from decoct.core.forms import typed
from decoct.core.shapes import Pixels
from decoct.data.procedural import Kind, procedural_pictures

_LEVELS = 127  # of int8 on either side of 0
_WIDEST = 16_383  # pixels: the limit of a WebP picture's side
LOSSLESS = 100  # the quality at which WebP changes nothing


@dataclass(frozen=True)
class Coded:
    """A tensor in one of the codes: the tensors that a file keeps in its place."""

    code: str
    tensors: Mapping[str, Tensor]

    def decode(self) -> Tensor:
        """The tensor that training uses; raises `DecoctError` if there is none."""
        CODE_FORMS[self.code].check(self.tensors)
        return DECODERS[self.code](self.tensors)

    @property
    def bytes(self) -> int:
        """What it takes in a file."""
        return sum(int(t.nbytes) for t in self.tensors.values())


def float16(values: Shaped[Tensor, "..."]) -> Coded:
    """Half precision; raises `DecoctError` for numbers beyond its range.

    >>> float16(torch.tensor([1.0, 0.1])).decode()
    tensor([1.0000, 0.1000])
    """
    half = values.half()
    if not bool(half.isfinite().all()):
        raise DecoctError(
            "a number is too large for float16, or is not finite; keep these numbers as float32"
        )
    return Coded("float16", {"values": half})


def int8(values: Shaped[Tensor, "..."], *, axis: int = 0) -> Coded:
    """Eight bits a number, with one float32 scale for each index of `axis`.

    >>> int8(torch.tensor([[1.0, 0.5], [100.0, -100.0]])).decode()
    tensor([[   1.0000,    0.5039],
            [ 100.0000, -100.0000]])
    """
    others = [d for d in range(values.dim()) if d != axis % max(1, values.dim())]
    largest = values.abs().amax(others, keepdim=True) if others else values.abs()
    scale = (largest / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
    return Coded("int8", {"values": (values / scale).round().to(torch.int8), "scale": scale})


def webp(pixels: Pixels, *, quality: int = LOSSLESS) -> Coded:
    """All images as one WebP picture, without loss at quality 100.

    Sides that are multiples of 16 px keep the blocks of a lossy picture within one image.

    >>> pixels = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    >>> bool((webp(pixels).decode() == pixels).all())
    True
    """
    count, channels, height, width = pixels.shape
    rows, columns = _table(count)
    if max(rows * height, columns * width) > _WIDEST:
        raise DecoctError(
            f"{count} images of {height} px do not fit in one WebP picture; keep fewer images"
        )
    tiles = torch.full((rows * columns, channels, height, width), 255, dtype=torch.uint8)
    tiles[:count] = pixels
    tiles = tiles.expand(-1, 3, -1, -1).reshape(rows, columns, 3, height, width)
    sheet = tiles.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    file = io.BytesIO()
    lossless = quality >= LOSSLESS
    Image.fromarray(sheet.contiguous().numpy()).save(
        file, "WEBP", lossless=lossless, quality=100 if lossless else quality, method=4
    )
    stream = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    shape = torch.tensor([count, channels, height, width])
    return Coded("webp", {"stream": stream, "shape": shape})


def _table(count: int) -> tuple[int, int]:
    """The rows and columns in which so many images are arranged."""
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def procedural(kind: Kind, *, shape: Sequence[int], seed: int) -> Coded:
    """Pictures that a seed makes: the file keeps their number, their shape and the seed."""
    numbers = torch.tensor([*shape, seed])
    return Coded(kind, {"numbers": numbers})


def _from_seed(kind: Kind, tensors: Mapping[str, Tensor]) -> Tensor:
    count, channels, size, _, seed = tensors["numbers"].tolist()
    return procedural_pictures(kind, count=count, channels=channels, size=size, seed=seed)


def _from_webp(tensors: Mapping[str, Tensor]) -> Tensor:
    count, channels, height, width = tensors["shape"].tolist()
    rows, columns = _table(count)
    stream = io.BytesIO(tensors["stream"].numpy().tobytes())
    try:
        with Image.open(stream, formats=["WEBP"]) as picture:
            if picture.size != (columns * width, rows * height):
                raise DecoctError(f"a picture of {picture.size} px cannot hold its images")
            sheet = torch.from_numpy(np.array(picture.convert("RGB")))
    except (OSError, Image.DecompressionBombError) as error:
        raise DecoctError("its WebP picture cannot be decoded") from error
    tiles = sheet.view(rows, height, columns, width, 3).permute(0, 2, 4, 1, 3)
    return tiles.reshape(rows * columns, 3, height, width)[:count, :channels].contiguous()


Decoder = Callable[[Mapping[str, Tensor]], Tensor]
DECODERS: dict[str, Decoder] = {
    "float16": lambda tensors: tensors["values"].float(),
    "int8": lambda tensors: tensors["values"].float() * tensors["scale"],
    "webp": _from_webp,
    "pca": from_pca,
    "pq": from_product_quantised,
    "factored-images": factored_images,
    "factored-targets": factored_targets,
    **{kind: partial(_from_seed, kind) for kind in get_args(Kind)},
}


def pack(parts: Mapping[str, Coded]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Coded parts by name, as tensors for a file and the code of each."""
    tensors = {f"{n}:{key}": t for n, part in parts.items() for key, t in part.tensors.items()}
    return tensors, {name: part.code for name, part in parts.items()}


def unpack(tensors: dict[str, Tensor], codes: Any) -> dict[str, Coded]:
    """Take what `pack` returned out of a file's tensors; raises `DecoctError` for unknown codes."""
    found = {}
    for name, code in typed(codes, dict[str, str]).items():
        if code not in DECODERS:
            raise DecoctError(f"{name} are in the code {code!r}, which this version does not know")
        start = f"{name}:"
        own = [key for key in tensors if key.startswith(start)]
        found[name] = Coded(code, {k.removeprefix(start): tensors.pop(k) for k in own})
    return found
