"""What rank 0 of many hears in a step, counted at the calls: it does not grow with their number."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from decoct.core import ranks

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield __import__("traffic")
    del sys.modules["traffic"]


@pytest.mark.parametrize("world", [8, 64, 512])
def test_a_mean_of_gradients_brings_less_than_two_of_them(world: int, traffic: ModuleType) -> None:
    like = torch.zeros(128 * world)

    def work(steps: int) -> None:
        for _ in range(steps):
            ranks.mean_in_order([torch.ones_like(like)], total=world, like=like)

    with traffic.one_of(world):
        found, _ = traffic.traffic_of(work, 3)
    assert found.messages == 3 * 2
    assert found.heard == 3 * 2 * (like.nbytes - like.nbytes // world)


def test_sums_that_ddp_asks_for_are_counted(traffic: ModuleType) -> None:
    def work(steps: int) -> None:
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 2))
        for _ in range(steps):
            model(torch.ones(4, 3)).sum().backward()

    with traffic.one_of(8):
        few, more = (traffic.traffic_of(work, steps)[0] for steps in (2, 3))
    assert more.messages - few.messages == 1
    assert more.heard - few.heard == 2 * 7 * 8 * 4 // 8  # 8 parameters of 4 bytes, round a ring
