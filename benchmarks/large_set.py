"""Images that do not fit in memory: read an epoch in random order from the file while computing.

    python benchmarks/large_set.py                    # 1,000,000 x 3 x 64 x 64: 12.3 GB of disk
    python benchmarks/large_set.py --images 20000     # a quick look
    python benchmarks/large_set.py --folder /scratch  # where to make the file, which is removed

The system's cache of the file is emptied before each measurement, if the system allows it (Linux).
Computing means normalising a batch and passing it through a small ConvNet. Reading, computing and
both together are measured alternately; the medians are reported. The hidden fraction of the reading
is 1 - (both - computing) / reading: it takes no time in addition to computing, but it needs a core
that computing leaves free (OMP_NUM_THREADS). Peak memory is that of this process so far.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from common import machine, peak_resident_bytes, resident_bytes, table, wait
from rich.filesize import decimal as size_text
from torch import Tensor

from decoct.core import on_disk as rows
from decoct.core.device import resolve_device
from decoct.core.on_disk import DiskTensor
from decoct.data.images import Images, normalise, write_images
from decoct.data.stream import stream_pixels
from decoct.models.convnet import convnet
from decoct.run.sizes import free_bytes

_CONTENDERS = {
    "read": {"read": True, "compute": False},
    "computed on": {"read": False, "compute": True},
    "read and computed on": {"read": True, "compute": True},
}


@dataclass(frozen=True)
class Options:
    """What to make and to measure."""

    images: int = 1_000_000
    size: int = 64
    batch: int = 256
    batches: int = 100  # to compute on in a round; reading alone is a whole epoch
    rounds: int = 7
    width: int = 4  # of the ConvNet
    folder: Path = Path(tempfile.gettempdir())
    device: str = "auto"

    @property
    def bytes(self) -> int:
        """The size of the pixels."""
        return self.images * 3 * self.size**2


def make(options: Options, path: Path) -> Images:
    """Noise, different for each image, written piece by piece."""
    noise = torch.randint(256, (2000, 3, options.size, options.size), dtype=torch.uint8)

    def pieces() -> Iterator[Tensor]:
        for first in range(0, options.images, len(noise)):
            yield (noise + first // len(noise))[: options.images - first]

    def describe(stored: DiskTensor) -> Images:
        return Images.from_pixels(stored, labels=None, class_names=(), name="noise")

    write_images(path, pieces(), most=options.images, describe=describe)
    return Images.load(path)


def forget(path: Path) -> None:
    """Empty the system's cache of a file."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Bench:
    """An epoch's batches in random order, and a network to compute with."""

    def __init__(self, options: Options, images: Images, path: Path) -> None:
        self.images, self.path = images, path
        self.device = resolve_device(options.device)
        draws = torch.Generator().manual_seed(0)
        self.order = torch.randperm(len(images), generator=draws).split(options.batch)
        network = convnet(size=options.size, outputs=16, width=options.width, depth=3)
        self.network = network.to(self.device).eval()

    @torch.no_grad()
    def compute(self, pixels: Tensor) -> None:
        """The computation on each batch."""
        mean, std = self.images.mean.to(self.device), self.images.std.to(self.device)
        self.network(normalise(pixels, mean, std))

    def seconds(self, batches: int, *, read: bool, compute: bool) -> float:
        """Seconds for so many batches; without reading, it computes on the first one again."""
        forget(self.path)
        first = next(stream_pixels(self.images, self.order, device=self.device))
        self.compute(first[1])
        chosen = self.order[1 : 1 + batches]
        start = time.perf_counter()
        reading = stream_pixels(self.images, chosen, device=self.device)
        for _, pixels in reading if read else [first] * batches:
            if compute:
                self.compute(pixels)
        wait(self.device)
        return time.perf_counter() - start


def measure(options: Options, folder: Path) -> tuple[list[list[str]], float]:
    """The rows of the table, and the hidden fraction of the reading."""
    found = []

    def row(what: str, count: int, seconds: float) -> None:
        rate = size_text(round(count * 3 * options.size**2 / seconds))
        speed = f"{count / seconds:,.0f}", f"{rate}/s"
        found.append(
            [what, f"{count:,}", f"{seconds:.1f}", *speed, size_text(peak_resident_bytes())]
        )

    path, start = folder / "images.safetensors", time.perf_counter()
    images = make(options, path)
    row("made and checked", options.images, time.perf_counter() - start)
    bench = Bench(options, images, path)
    epoch = len(bench.order) - 1
    row("read: an epoch", epoch * options.batch, bench.seconds(epoch, read=True, compute=False))
    some = min(options.batches, epoch)
    times = [
        [bench.seconds(some, **c) for c in _CONTENDERS.values()] for _ in range(options.rounds)
    ]
    read, compute, both = map(statistics.median, zip(*times, strict=True))
    for what, seconds in zip(_CONTENDERS, (read, compute, both), strict=True):
        row(what, some * options.batch, seconds)
    return found, 1 - (both - compute) / read


def main(options: Options) -> None:
    """Make the file, measure, remove it."""
    free = free_bytes(options.folder)
    if free < 1.02 * options.bytes + 2**24:
        raise SystemExit(
            f"{options.folder} has {size_text(free)} free; the file takes "
            f"{size_text(options.bytes)}: give another --folder, or fewer --images"
        )
    rows._IN_MEMORY = 0  # so that a quick look also reads from the file
    imports = resident_bytes()
    with tempfile.TemporaryDirectory(prefix="decoct-", dir=options.folder) as folder:
        found, hidden = measure(options, Path(folder))
    print(machine(resolve_device(options.device)))
    print(
        f"{options.images:,} images, {size_text(options.bytes)}; the imports take "
        f"{size_text(imports)} of memory; {hidden:.0%} of the reading is hidden\n"
    )
    print(table(["", "images", "seconds", "images/s", "pixels", "peak memory"], found))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
