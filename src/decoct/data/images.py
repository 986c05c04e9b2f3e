"""`Images`: uint8 pixels with the statistics that normalise them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from decoct.core import storage
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.forms import check_forms, typed, understood
from decoct.core.on_disk import DiskTensor, chunks_of
from decoct.core.shapes import ByChannel, Index, Pictures, Pixels
from decoct.data.arrays import as_labels, to_pixels

# What a file of images holds; square ones, of one or three channels
_FORMS = {"pixels": "uint8 N C S S", "mean": "float C", "std": "float C", "labels?": "int N"}
_ROOM = 2**20  # bytes reserved in a file for names and statistics; labels are added to it


@dataclass(frozen=True)
class Images:
    """N images of one size, uint8, with per-channel mean and standard deviation in [0, 1] units.

    Only probes read the labels, if there are any: distillation is unsupervised.
    Pixels too large for memory stay in their file; indexing reads only the images asked for.
    """

    pixels: Tensor | DiskTensor  # uint8, N x C x H x W
    mean: ByChannel
    std: ByChannel
    labels: Index | None = None
    class_names: tuple[str, ...] = ()
    name: str = "images"

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        """C: 1 for grey, 3 for colour."""
        return self.pixels.shape[1]

    @property
    def size(self) -> int:
        """Height, which equals the width, in pixels."""
        return self.pixels.shape[2]

    @property
    def digest(self) -> str:
        """A digest of pixels, statistics and labels."""
        labels = torch.zeros(0) if self.labels is None else self.labels
        return storage.digest(self.pixels, self.mean, self.std, labels, self.class_names)

    def to(self, device: torch.device) -> Self:
        """The same images on `device`; pixels that stay in a file are moved there when read."""
        pixels = self.pixels
        if isinstance(pixels, Tensor):
            pixels = pixels.to(device)
        return replace(self, pixels=pixels, mean=self.mean.to(device), std=self.std.to(device))

    def normalised(self, index: Tensor | slice = slice(None)) -> Pictures:
        """Float images B x C x H x W, mean 0 and deviation 1 per channel, on the images' device."""
        return normalise(self.pixels[index].to(self.mean.device), self.mean, self.std)

    def subset(self, index: Index) -> Self:
        """The images at `index` (int64, m), in memory, with the statistics of all images."""
        labels = None if self.labels is None else self.labels[index]
        return replace(self, pixels=self.pixels[index], labels=labels)

    def part(self, index: Index) -> Self:
        """As `subset`, but pixels that are in a file stay there."""
        if not isinstance(self.pixels, DiskTensor):
            return self.subset(index)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, pixels=self.pixels.select(index), labels=labels)

    def with_statistics(self, mean: ByChannel, std: ByChannel) -> Self:
        """The same pixels, but normalised with another set's statistics."""
        return replace(self, mean=mean, std=std)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file."""
        if isinstance(self.pixels, DiskTensor):
            chunks = self.pixels.chunks(f"copying {self.name}")
            write_images(path, chunks, most=len(self), describe=lambda rows: self)
        else:
            tensors, meta = self.apart_from_pixels()
            tensors["pixels"] = self.pixels
            storage.save_tensors(path, tensors, kind="images", meta=meta)

    def apart_from_pixels(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a file holds besides the pixels: tensors by name, and the metadata."""
        tensors = {"mean": self.mean, "std": self.std}
        if self.labels is not None:
            tensors["labels"] = self.labels
        return tensors, {"class_names": self.class_names, "name": self.name}

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; pixels too large for memory stay in the file.

        Raises `DecoctError` for a damaged file.
        """
        with understood(path):
            stored, tensors, meta = storage.open_tensors(path, kind="images")
            check_forms({**stored, **tensors}, _FORMS)
            return cls(
                pixels=stored["pixels"] if stored else tensors["pixels"],
                mean=tensors["mean"],
                std=tensors["std"],
                labels=tensors.get("labels"),
                class_names=typed(meta["class_names"], tuple[str, ...]),
                name=typed(meta["name"], str),
            )

    @classmethod
    def from_array(
        cls,
        array: Any,
        *,
        labels: Any = None,
        class_names: Sequence[str] = (),
        size: int | None = None,
        channels: int | None = None,
        name: str = "images",
    ) -> Self:
        """Images from a numpy array or tensor: N x H x W, N x H x W x C or N x C x H x W.

        uint8 is taken as it is; floats in [0, 1] are scaled to it. With `size`, pictures are
        resized along their shorter side and centre-cropped. With `channels`, grey is repeated
        to colour, and colour is mixed to grey. Raises `DecoctError` for shapes, values or labels
        that cannot be images.

        >>> Images.from_array(torch.arange(2 * 8 * 8, dtype=torch.uint8).view(2, 8, 8)).pixels.shape
        torch.Size([2, 1, 8, 8])
        """
        pixels = to_pixels(array, size=size, channels=channels, name=name)
        return cls.from_pixels(pixels, labels=labels, class_names=class_names, name=name)

    @classmethod
    def from_pixels(
        cls, pixels: Tensor | DiskTensor, *, labels: Any, class_names: Sequence[str], name: str
    ) -> Self:
        """Images of uint8 pixels N x C x H x W; computes their statistics."""
        mean, std = channel_statistics(pixels, name=name)
        return cls(
            pixels=pixels,
            mean=mean,
            std=std,
            labels=as_labels(labels, count=len(pixels), name=name),
            class_names=tuple(class_names),
            name=name,
        )


def write_images(
    path: Path | str,
    chunks: Iterable[Tensor],
    *,
    most: int,
    describe: Callable[[DiskTensor], Images],
) -> None:
    """Write chunks of pixels (uint8, B x C x H x W) as they arrive: at most `most` images.

    Once all are in the file, `describe` turns them into `Images`. `Images.load` reads the file.
    Raises `DecoctError` if it cannot be written, and leaves nothing behind then.
    """
    storage.save_rows(
        path,
        chunks,
        name="pixels",
        kind="images",
        room=_ROOM + 8 * most,
        finish=lambda rows: describe(rows).apart_from_pixels(),
    )


def normalise(pixels: Pixels, mean: ByChannel, std: ByChannel) -> Pictures:
    """(pixels / 255 - mean) / std in float32: uint8 B x C x H x W to float of the same shape."""
    scale = (1 / (255 * std)).view(1, -1, 1, 1)
    shift = (mean / std).view(1, -1, 1, 1)
    return pixels.float() * scale - shift


def denormalise(images: Pictures, mean: ByChannel, std: ByChannel) -> Pixels:
    """The inverse of `normalise`, rounded and clamped to uint8."""
    unit = images * std.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)
    return (unit * 255).round().clamp(0, 255).to(torch.uint8)


def channel_statistics(pixels: Tensor | DiskTensor, *, name: str) -> tuple[ByChannel, ByChannel]:
    """Mean and standard deviation by channel, in [0, 1] units, summed exactly.

    Raises `DecoctError` if every pixel is the same; warns if some images are constant.
    """
    channels = pixels.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)  # how often each value occurs
    constant = 0
    for chunk in chunks_of(pixels, f"statistics of {name}"):
        counts += torch.stack([c.flatten().bincount(minlength=256) for c in chunk.unbind(1)])
        bytes_ = chunk.flatten(1)
        constant += int((bytes_.amax(1) == bytes_.amin(1)).sum())
    total = counts.sum(1)
    values = torch.arange(256)
    mean = (counts * values).sum(1).double() / total / 255
    squares = (counts * values.square()).sum(1).double() / total / 255**2
    std = (squares - mean.square()).clamp_min(0).sqrt()
    flat_channels = [i for i, value in enumerate(std.tolist()) if value < 1e-6]
    if constant == len(pixels) or len(flat_channels) == channels:
        raise DecoctError(f"{name}: the images are constant; there is nothing to learn from them")
    if flat_channels:
        raise DecoctError(
            f"{name}: channel {flat_channels[0]} has one value in all images; read them as grey "
            "with images.channels 1"
        )
    if constant:
        note(f"{name}: {constant} of {len(pixels)} images are constant (one colour, no content)")
    return mean.float(), std.float()
