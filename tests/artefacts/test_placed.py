"""Experts stay on the device as far as a budget allows; only the others are copied at each use.

There is no GPU here: torch's `meta` device stands for one, and its copies are counted.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from decoct.artefacts.placed import Placed
from decoct.artefacts.trajectories import Trajectories
from decoct.core import storage
from decoct.models.registry import NetworkConfig

EPOCHS, PARAMETERS = 3, 1000
ON_DEVICE = torch.zeros((), device="meta")
Make = Callable[..., Trajectories]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def call(dtype: torch.dtype = torch.float32) -> Trajectories:
        for k in range(3):
            path = torch.randn(EPOCHS + 1, PARAMETERS).to(dtype)
            tensors = {"parameters": path, "losses": torch.ones(EPOCHS)}
            meta = {"expert": k, "seed": 0, "config": {"network": asdict(NetworkConfig())}}
            file = tmp_path / f"{k:05d}.safetensors"
            storage.save_tensors(file, tensors, kind="expert", meta=meta)
        return Trajectories.load(tmp_path)

    return call


class Copies(TorchDispatchMode):
    """Counts the bytes that go from the CPU to the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [t for t in tree_leaves(args) if isinstance(t, torch.Tensor)]
        if "copy" in func.__name__ and result.is_meta and not given[0].is_meta:
            self.bytes += given[0].nbytes
        return result


def copied(placed: Placed, *uses: tuple[int, int]) -> int:
    """The bytes that go to the device for these experts and epochs."""
    with Copies() as copies:
        for use in uses:
            placed.at(*use)
    return copies.bytes


def test_experts_that_fit_are_copied_once(make: Make) -> None:
    placed = Placed(make(), like=ON_DEVICE, memory=1.0)
    whole = 4 * (EPOCHS + 1) * PARAMETERS
    assert copied(placed, (0, 0), (2, 1)) == 2 * whole
    assert copied(placed, (0, 2), (2, 0), (0, 0)) == 0
    assert placed.at(0, 1).is_meta


def test_those_beyond_the_budget_are_copied_epoch_by_epoch(make: Make) -> None:
    placed = Placed(make(), like=ON_DEVICE, memory=1.1 * 4 * (EPOCHS + 1) * PARAMETERS / 1e9)
    placed.at(1, 0)
    for _ in range(2):
        assert copied(placed, (1, 2), (0, 1), (0, 2)) == 2 * 4 * PARAMETERS
    assert placed.at(0, 1).is_meta


def test_files_in_bfloat16_take_half_and_are_widened_where_they_are_used(make: Make) -> None:
    experts = make(torch.bfloat16)
    placed = Placed(experts, like=ON_DEVICE, memory=1.0)
    assert copied(placed, (0, 0)) == 2 * (EPOCHS + 1) * PARAMETERS
    assert placed.at(0, 1).dtype == torch.float32
    on_cpu = Placed(experts, like=torch.zeros(()), memory=1.0)
    assert torch.equal(on_cpu.at(2, 3), experts.expert(2)[3])
    assert on_cpu.at(2, 3).dtype == torch.float32


def test_on_a_cpu_nothing_is_copied(make: Make) -> None:
    experts = make()
    on_cpu = Placed(experts, like=torch.zeros(()), memory=0.0)
    assert on_cpu.at(1, 2).data_ptr() == experts.expert(1)[2].data_ptr()
