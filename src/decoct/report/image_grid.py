"""Many small images as one picture."""

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from decoct.core.errors import DecoctError

_GAP = 2  # pixels between images, before scaling; transparent, to show the page's background
_GUTTER = 12  # pixels between two grids


def image_grid(
    pixels: Tensor, *, columns: int | None = None, scale: int = 1, limit: int = 400
) -> Image.Image:
    """The first `limit` of m images, row by row: uint8 m x C x H x W, C 1 or 3, to RGBA.

    Without `columns` the grid is about square. Each pixel is enlarged to `scale` x `scale`; the
    gaps between images are transparent. Raises `DecoctError` if there are no images, or the tensor
    does not contain any.

    >>> image_grid(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), columns=3).size
    (28, 18)
    """
    _check(pixels, scale)
    tiles = _rgba(pixels[: max(1, limit)])
    count, height, width = tiles.shape[:3]
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    canvas = np.zeros((rows, height + _GAP, columns, width + _GAP, 4), dtype=np.uint8)
    for i, tile in enumerate(tiles):
        canvas[i // columns, :height, i % columns, :width] = tile
    flat = canvas.reshape(rows * (height + _GAP), columns * (width + _GAP), 4)
    return _scaled(Image.fromarray(flat[:-_GAP, :-_GAP].copy()), scale)


def paired_grid(
    left: Tensor, right: Tensor, *, columns: int | None = None, scale: int = 1, limit: int = 400
) -> Image.Image:
    """Two grids side by side, each laid out by `image_grid`; equal positions belong together.

    >>> ones = torch.ones(4, 1, 8, 8, dtype=torch.uint8)
    >>> paired_grid(ones, ones).size
    (48, 18)
    """
    grids = [image_grid(part, columns=columns, limit=limit) for part in (left, right)]
    width = grids[0].width + _GUTTER + grids[1].width
    canvas = Image.new("RGBA", (width, max(grid.height for grid in grids)))
    canvas.paste(grids[0], (0, 0))
    canvas.paste(grids[1], (grids[0].width + _GUTTER, 0))
    return _scaled(canvas, scale)


def png_bytes(image: Image.Image) -> bytes:
    """An image as a PNG file's bytes.

    >>> png_bytes(Image.new("RGB", (2, 2)))[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _check(pixels: Tensor, scale: int) -> None:
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype != torch.uint8:
        raise DecoctError(
            f"a grid is made of uint8 images m x C x H x W with 1 or 3 channels, not of "
            f"{str(pixels.dtype).removeprefix('torch.')} {tuple(pixels.shape)}"
        )
    if len(pixels) == 0:
        raise DecoctError("there are no images to lay out")
    if scale < 1:
        raise DecoctError(f"a grid's scale is {scale}; at least 1 is needed")


def _rgba(pixels: Tensor) -> np.ndarray:
    """Opaque colour, channels last: uint8 m x H x W x 4."""
    colour = pixels.expand(-1, 3, -1, -1)
    opaque = torch.full_like(colour[:, :1], 255)
    array: np.ndarray = torch.cat([colour, opaque], 1).permute(0, 2, 3, 1).cpu().numpy()
    return array


def _scaled(image: Image.Image, scale: int) -> Image.Image:
    size = (image.width * scale, image.height * scale)
    return image if scale == 1 else image.resize(size, Image.Resampling.NEAREST)
