"""How far rounding moves an assistant: two processes beside one, and one whose start is changed.

OMP_NUM_THREADS=1 python benchmarks/scaling_rounding.py
"""

import sys
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import torch
from common import machine, table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core.console import console
from decoct.data.images import Images
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.training import assistant
from tests.conftest import smooth_pixels
from tests.processes import Processes

LR = {"sgd": 0.2, "muon": 0.05}
Optimiser = Literal["sgd", "muon"]


def labels(optimiser: Optimiser, change: float = 0.0) -> Tensor:
    """What an assistant says of 16 views after 50 steps; `change` is that of its first weights."""
    console.quiet = True
    images = Images.from_array(smooth_pixels(40, seed=0, size=16))
    values = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    config = assistant.AssistantConfig(
        network=NetworkConfig(width=8), epochs=10, batch=8, optimiser=optimiser, lr=LR[optimiser]
    )

    def changed(network: NetworkConfig, *, channels: int, size: int, outputs: int) -> Network:
        made = create_network(network, channels=channels, size=size, outputs=outputs)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(1 + change)
        return made

    with patch.object(assistant, "create_network", changed):
        found = assistant.train_assistant(
            images=images, targets=fit_targets(values, TargetsConfig()), config=config
        )
    return found.label(torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(5)))


def apart(first: Tensor, second: Tensor) -> str:
    """The largest difference, as a share of the largest label."""
    return f"{float((first - second).abs().max() / first.abs().max()):.1e}"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    processes, rows = Processes(2), []
    for optimiser in ("sgd", "muon"):
        one = labels(optimiser)
        two = processes.call(labels, optimiser)[0]
        rows.append([optimiser, apart(one, two), apart(one, labels(optimiser, 1e-6))])
    processes.end()
    print(machine(torch.device("cpu")) + "\n")
    header = ["optimiser", "two processes beside one", "one, its start changed by a millionth"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
