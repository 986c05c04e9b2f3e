"""A training step of the ConvNet with torch's average pooling and with decoct's, on a CPU.

python benchmarks/pooling.py    # a minute
"""

from functools import partial

import torch
import torch.nn.functional as F
from common import in_turn, machine, table
from torch import Tensor, nn

from decoct.core.device import resolve_device
from decoct.models.convnet import convnet
from decoct.models.mean_pool import MeanPool

_SHAPES = [(66, 32), (252, 32), (252, 64), (256, 128)]  # images a step, width


def gradient(network: nn.Module, images: Tensor, targets: Tensor) -> None:
    """What a training step computes before the optimiser."""
    network.zero_grad()
    F.mse_loss(network(images), targets).backward()


def with_torchs_pooling(network: nn.Module) -> nn.Module:
    """The same network but for its pooling."""
    for block in network.modules():
        for name, layer in block.named_children():
            if isinstance(layer, MeanPool):
                setattr(block, name, nn.AvgPool2d(2))
    return network


def main() -> None:
    """Print the table."""
    device = resolve_device("cpu")
    print(machine(device))
    rows = []
    for batch, width in _SHAPES:
        images, targets = torch.randn(batch, 3, 32, 32), torch.randn(batch, 64)
        ours, theirs = (convnet(outputs=64, width=width) for _ in range(2))
        contenders = {
            "torch's": partial(gradient, with_torchs_pooling(theirs), images, targets),
            "decoct's": partial(gradient, ours, images, targets),
        }
        seconds = in_turn(contenders, repeats=20, device=device)
        own, torchs = seconds["decoct's"], seconds["torch's"]
        rows.append(
            [batch, width, f"{1e3 * torchs:.0f}", f"{1e3 * own:.0f}", f"{own / torchs:.2f}"]
        )
    print(table(["images", "width", "torch's, ms", "decoct's, ms", "ratio"], rows))


if __name__ == "__main__":
    main()
