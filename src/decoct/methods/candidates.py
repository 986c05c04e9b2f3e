"""The targets that a subset is chosen by, on the device where it is chosen."""

import torch
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.core.errors import DecoctError

BLOCK = 2**24  # distances or similarities at a time, whatever the pool's size: 64 MB


def candidates(targets: Targets, *, count: int, device: torch.device | str) -> Tensor:
    """The N x D targets; raises `DecoctError` where `count` of them cannot be chosen."""
    if not 1 <= count <= len(targets):
        raise DecoctError(f"a subset of {count} images cannot be chosen from {len(targets)}")
    return targets.values.to(device)
