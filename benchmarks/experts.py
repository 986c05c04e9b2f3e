"""Training the experts: a plain `DataLoader` loop, as in published code, compared with ours.

    python benchmarks/experts.py                       # width 64, a minute or two
    python benchmarks/experts.py --width 128 --count 10000
    python benchmarks/experts.py --device cuda --width 128 --count 50000 --precision tf32

All contenders see the same number of pictures and train the ConvNet by SGD with momentum at the
same batch size. The loop runs in its own process with malloc's defaults (decoct raises its
thresholds). Then the gain from training several students at once is measured, and the cost of 100
experts is estimated, as published and with only the epochs that matching reads.
"""

import functools
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from common import in_turn, machine, table
from torch.utils.data import DataLoader, TensorDataset

from decoct.artefacts.targets import Targets
from decoct.core.compilation import Compile
from decoct.core.device import Precision, resolve_device
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.unroll import matching_gradient
from decoct.models.convnet import convnet
from decoct.models.registry import NetworkConfig
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import expert_path, train_experts

_PUBLISHED_EPOCHS, _READ_EPOCHS = (
    20,
    3,
)  # matching reads max_start_epoch + expert_epochs - 1 of them


@dataclass(frozen=True)
class Options:
    """What to measure."""

    count: int = 4096  # pictures
    size: int = 32
    width: int = 64
    outputs: int = 512
    batch: int = 256
    repeats: int = 3
    students: int = 4  # in the trial of several at once
    device: str = "cpu"
    compile: bool = True
    precision: Precision = "float32"


def main(options: Options) -> None:
    """Print the tables."""
    device = resolve_device(options.device)
    print(machine(device) + "\n")
    images, targets = _data(options)
    with tempfile.TemporaryDirectory() as folder:
        seconds = _one_epoch(options, images, targets, device, Path(folder))
        _several_at_once(options, device)
        _published_and_read(options, seconds, images, targets, device, Path(folder))


@functools.cache
def _data(options: Options) -> tuple[Images, Targets]:
    torch.manual_seed(0)
    shape, width = (options.count, 3, options.size, options.size), options.outputs
    values = torch.randn(options.count, width)
    return (
        Images.from_array(torch.randint(256, shape, dtype=torch.uint8)),
        Targets(values, torch.zeros(width), torch.zeros(0, 0), torch.ones(width)),
    )


def _one_epoch(
    options: Options, images: Images, targets: Targets, device: torch.device, folder: Path
) -> dict[str, float]:
    config = ExpertsConfig(
        count=1,
        epochs=1,
        network=NetworkConfig(width=options.width),
        batch=options.batch,
        precision=options.precision,
    )
    choices: dict[str, Compile] = {"ours": "never"}
    choices |= {"ours, compiled": "always"} if options.compile else {}
    ways: dict[str, Callable[[], Any]] = {
        name: partial(_ours, images, targets, replace(config, compile=choice), device, folder)
        for name, choice in choices.items()
    }
    with multiprocessing.get_context("spawn").Pool(1) as apart:
        loop = partial(apart.apply, _loader_loop, (options, str(device)))
        ways = {"DataLoader loop": loop, **ways}
        seconds = in_turn(ways, repeats=options.repeats, device=device)
    base = seconds["DataLoader loop"]
    rows = [
        [name, f"{value:.2f}", f"{options.count / value:.0f}", f"{value / base:.2f}"]
        for name, value in seconds.items()
    ]
    print("### One epoch of one expert, its file written\n")
    print(table(["", "seconds", "images/s", "of the loop"], rows) + "\n", flush=True)
    return seconds


def _ours(
    images: Images, targets: Targets, config: ExpertsConfig, device: torch.device, folder: Path
) -> None:
    expert_path(folder, 0).unlink(missing_ok=True)
    train_experts(images=images, targets=targets, folder=folder, config=config, device=device)


def _loader_loop(options: Options, device: str) -> None:
    """As in published code: normalised floats in a data set, a loader, a module, SGD."""
    images, targets = _data(options)
    network = convnet(size=options.size, outputs=options.outputs, width=options.width).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    data = TensorDataset(images.normalised(), targets.values)
    for pictures, values in DataLoader(data, batch_size=options.batch, shuffle=True):
        loss = F.mse_loss(network(pictures.to(device)), values.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with tempfile.TemporaryFile() as file:
        torch.save([p.detach().cpu() for p in network.parameters()], file)  # waits for a GPU


def _several_at_once(options: Options, device: torch.device) -> None:
    """A step of several students: one after another, by vmap, and in two threads."""
    count = options.students
    network = convnet(size=options.size, outputs=options.outputs, width=options.width).to(device)
    gradient = ConvNetGradient(network).gradient
    start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    thetas = torch.stack([start + 0.01 * torch.randn_like(start) for _ in range(count)])
    x = torch.randn(count, options.batch, 3, options.size, options.size, device=device)
    y = torch.randn(count, options.batch, options.outputs, device=device)

    def in_turns() -> None:
        for theta, pictures, values in zip(thetas, x, y, strict=True):
            gradient(theta, pictures, values)

    def loss(theta: torch.Tensor, pictures: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        parts = theta.split([p.numel() for p in network.parameters()])
        named = zip(network.named_parameters(), parts, strict=True)
        parameters = {name: part.view(p.shape) for (name, p), part in named}
        return F.mse_loss(torch.func.functional_call(network, parameters, (pictures,)), values)

    by_vmap = torch.func.vmap(torch.func.grad(loss))

    def alone(first: int) -> None:
        torch.set_num_threads(1)
        for i in range(first, count, 2):
            gradient(thetas[i], x[i], y[i])

    def in_threads() -> None:
        threads = [threading.Thread(target=alone, args=(first,)) for first in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ways: dict[str, Callable[[], Any]] = {
        "one after the other": in_turns,
        "vmap (grouped convolutions)": lambda: by_vmap(thetas, x, y),
    }
    if device.type == "cpu":
        ways["two threads, a student in each"] = in_threads
    seconds = in_turn(ways, repeats=options.repeats, device=device)
    base = seconds["one after the other"]
    print(f"### A step of {count} students\n")
    rows = [[name, f"{value:.3f}", f"{value / base:.2f}"] for name, value in seconds.items()]
    print(table(["", "seconds", "ratio"], rows) + "\n", flush=True)


def _published_and_read(
    options: Options,
    seconds: dict[str, float],
    images: Images,
    targets: Targets,
    device: torch.device,
    folder: Path,
) -> None:
    """100 experts: time from the epoch above, disk from the files written, error by dtype."""
    loop, best = seconds["DataLoader loop"], min(seconds.values())
    sizes, gradients = {}, {}
    for dtype in ("float32", "float16", "bfloat16"):
        place = folder / dtype
        config = ExpertsConfig(
            count=1,
            epochs=_READ_EPOCHS,
            network=NetworkConfig(width=options.width),
            batch=options.batch,
            dtype=dtype,
            compile="never",
        )
        path = train_experts(
            images=images, targets=targets, folder=place, config=config, device=device
        ).expert(0)
        sizes[dtype] = expert_path(place, 0).stat().st_size
        gradients[dtype] = _matching_images(options, images, targets, path, device)
    vector = sizes["float32"] / (_READ_EPOCHS + 1)
    published = 100 * _PUBLISHED_EPOCHS * loop, 100 * (_PUBLISHED_EPOCHS + 1) * vector
    header = ["100 experts", "epochs", "hours", "GB", "time", "disk", "gradient off by"]
    rows = [_row("as published", _PUBLISHED_EPOCHS, published, published, "")]
    for dtype, size in sizes.items():
        cost = 100 * _READ_EPOCHS * best, 100.0 * size
        off = (gradients[dtype] - gradients["float32"]).norm() / gradients["float32"].norm()
        rows.append(_row(f"ours, {dtype}", _READ_EPOCHS, cost, published, f"{float(off):.1e}"))
    print(f"### What 100 experts cost on {options.count} pictures, from these measurements\n")
    print(table(header, rows))


def _row(
    name: str, epochs: int, cost: tuple[float, float], of: tuple[float, float], off: str
) -> list[str]:
    hours, gigabytes = f"{cost[0] / 3600:.2f}", f"{cost[1] / 1e9:.2f}"
    return [
        name,
        str(epochs),
        hours,
        gigabytes,
        f"{cost[0] / of[0]:.2f}",
        f"{cost[1] / of[1]:.2f}",
        off,
    ]


def _matching_images(
    options: Options, images: Images, targets: Targets, path: torch.Tensor, device: torch.device
) -> torch.Tensor:
    """The images' matching gradient for ten steps from an expert's epoch 1 towards its epoch 3."""
    network = convnet(size=options.size, outputs=options.outputs, width=options.width).to(device)
    index = torch.arange(min(128, len(images)))
    gradient = matching_gradient(
        InnerGradient.by_hand(ConvNetGradient(network)),
        start=path[1].to(device),
        goal=path[3].to(device),
        images=images.normalised(index).to(device),
        targets=targets.values[index].to(device),
        lr=torch.tensor(0.1, device=device),
        batches=[b.to(device) for b in index.split(64)] * 5,
    )
    return gradient.images.cpu()


if __name__ == "__main__":
    start = time.monotonic()
    main(tyro.cli(Options, description=__doc__))
    print(f"\n{time.monotonic() - start:.0f} s in all")
