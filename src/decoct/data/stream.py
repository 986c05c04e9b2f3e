"""Batches of images in a given order; a thread reads ahead if they are on another device."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from decoct.core.ahead import ahead
from decoct.data.images import Images, normalise

_AHEAD = 2  # batches to read ahead


def stream(
    images: Images, batches: Iterable[Tensor], *, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each batch's index (int64, B) and its normalised images, both on `device`.

    Images on the device are indexed. Others are read by a thread, two batches ahead, and
    normalised on the device, with bit-identical results. An error in reading is raised here. The
    thread ends with the iterator, however that ends.

    >>> pictures = Images.from_array(torch.rand(5, 3, 8, 8))
    >>> [len(x) for _, x in stream(pictures, torch.randperm(5).split(2), device="cpu")]
    [2, 2, 1]
    """
    mean, std = images.mean.to(device), images.std.to(device)
    for index, pixels in stream_pixels(images, batches, device=device):
        yield index, normalise(pixels, mean, std)


def stream_pixels(
    images: Images, batches: Iterable[Tensor], *, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `stream`, but with unnormalised images: uint8, B x C x H x W."""
    device, pixels = torch.device(device), images.pixels
    if isinstance(pixels, Tensor) and pixels.device.type == device.type:
        for index in batches:
            index = index.to(pixels.device)
            yield index, pixels[index]
        return
    pinned = device.type == "cuda"  # so that the copy to the device is asynchronous

    def read(index: Tensor) -> Tensor:
        rows = pixels[index.cpu()]
        return rows.pin_memory() if pinned else rows

    for index, rows in ahead(read, batches, most=_AHEAD):
        yield index.to(device), rows.to(device, non_blocking=pinned)
