"""Arrays of images and labels, in whatever form: their pixels as uint8 N x C x H x W."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from decoct.core.errors import DecoctError
from decoct.core.on_disk import rows_a_chunk
from decoct.core.printable import brief
from decoct.core.shapes import Pixels
from decoct.data.numpy_files import numeric_tensor

_CHUNK = 4096  # images at a time in a pass over all images that needs floats
_LARGEST = 2**63 - 1  # label that int64 can hold
_LONGEST = 100  # times the shorter side: what is left of it after the crop is no picture


def to_pixels(
    array: Any, *, size: int | None, channels: int | None, name: str, first: int = 0
) -> Tensor:
    """Convert an array, in any form that `Images.from_array` accepts, to uint8 N x C x H x W.

    If it is a piece of a larger array, `first` is the index of its first image.
    """
    if channels not in (None, 1, 3):
        raise DecoctError(f"channels is {channels}; images are grey (1) or colour (3)")
    if size is not None and size < 1:
        raise DecoctError(f"size is {size}; it is a number of pixels, at least 1")
    tensor = _channels_first(_as_tensor(array, name), name)
    _check_sides(tensor, name)
    pixels = _as_bytes(tensor, name, first)
    if size is not None:
        pixels = resize_and_crop(pixels, size)
    elif pixels.shape[2] != pixels.shape[3]:
        raise DecoctError(
            f"{name}: images are {pixels.shape[2]} x {pixels.shape[3]}; give a size to crop to"
        )
    return pixels if channels is None else convert_channels(pixels, channels)


def as_labels(labels: Any, *, count: int, name: str) -> Tensor | None:
    """As int64, one for each of `count` images; raises `DecoctError` for what cannot be labels."""
    if labels is None:
        return None
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "iu":
        raise DecoctError(f"{name}: labels are {numbers.dtype}; whole numbers are needed")
    if numbers.size and int(numbers.max()) > _LARGEST:
        raise DecoctError(f"{name}: a label is {numbers.max()}; labels are below 2^63")
    tensor = torch.as_tensor(numbers.astype(np.int64)).flatten()
    if len(tensor) != count:
        raise DecoctError(f"{name}: {len(tensor)} labels for {count} images")
    return tensor


def resize_and_crop(pixels: Pixels, size: int) -> UInt8[Tensor, "image channel {size} {size}"]:
    """Resize the shorter side to `size` (antialiased bicubic), then crop the centre square."""
    height, width = pixels.shape[2:]
    if (height, width) == (size, size):
        return pixels
    shorter = min(height, width)
    shape = [max(size, round(side * size / shorter)) for side in (height, width)]
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    floats = 4 * pixels.shape[1] * max(height * width, math.prod(shape))  # bytes of an image
    chunks = [
        F.interpolate(chunk.float(), shape, mode="bicubic", antialias=True)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)[:, :, top : top + size, left : left + size]
        for chunk in pixels.split(rows_a_chunk(floats))
    ]
    return torch.cat(chunks).contiguous()


def convert_channels(
    pixels: Pixels, channels: int
) -> UInt8[Tensor, "image {channels} height width"]:
    """Repeat grey to colour, or mix colour to grey by ITU-R 601 luma weights."""
    if pixels.shape[1] == channels:
        return pixels
    if pixels.shape[1] == 1:
        return pixels.expand(-1, channels, -1, -1).contiguous()
    luma = torch.tensor([0.299, 0.587, 0.114], device=pixels.device).view(1, 3, 1, 1)
    grey = [(chunk.float() * luma).sum(1, keepdim=True) for chunk in pixels.split(_CHUNK)]
    return torch.cat(grey).round().clamp(0, 255).to(torch.uint8)


def _as_tensor(array: Any, name: str) -> Tensor:
    if isinstance(array, list | tuple) and array:
        shapes = sorted({tuple(np.shape(image)) for image in array})
        if len(shapes) > 1:
            raise DecoctError(
                f"{name}: images differ in size or channels ({', '.join(map(str, shapes[:4]))}); "
                "make them equal, or give a folder of pictures"
            )
        array = np.stack([np.asarray(image) for image in array])
    try:
        return numeric_tensor(array)
    except (TypeError, ValueError) as error:
        reason = brief(error)
        raise DecoctError(f"{name}: this array does not hold images: {reason}") from error


def _channels_first(array: Tensor, name: str) -> Tensor:
    if array.ndim == 3:
        return array.unsqueeze(1)
    if array.ndim != 4:
        raise DecoctError(
            f"{name}: an array of shape {tuple(array.shape)} does not hold images; give "
            "N x H x W, N x H x W x C or N x C x H x W"
        )
    if array.shape[1] in (1, 3):
        return array
    if array.shape[3] in (1, 3):
        return array.permute(0, 3, 1, 2).contiguous()
    raise DecoctError(
        f"{name}: images of shape {tuple(array.shape[1:])} have neither 1 nor 3 channels, "
        "first or last"
    )


def _check_sides(array: Tensor, name: str) -> None:
    count, _, height, width = array.shape
    if count == 0:
        raise DecoctError(f"{name}: there are no images in it")
    if not height or not width:
        raise DecoctError(f"{name}: images are {height} x {width} pixels, which is none at all")
    if max(height, width) > _LONGEST * min(height, width):
        raise DecoctError(
            f"{name}: images are {height} x {width} pixels; the longer side may be at most "
            f"{_LONGEST} times the shorter one"
        )


def _as_bytes(array: Tensor, name: str, first: int) -> Tensor:
    if array.dtype == torch.uint8:
        return array
    if not array.is_floating_point():
        raise DecoctError(f"{name}: pixels are {array.dtype}; give uint8, or floats in [0, 1]")
    finite = array.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten()
        raise DecoctError(
            f"{name}: {len(bad)} images have non-finite pixels, the first at index "
            f"{first + int(bad[0])}, among the {first + len(array)} read"
        )
    if array.numel() and (float(array.min()) < 0 or float(array.max()) > 1):
        raise DecoctError(f"{name}: float pixels lie outside [0, 1]; scale them, or give uint8")
    return (array * 255).round().to(torch.uint8)
