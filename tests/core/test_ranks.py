"""Ranks know the same: sums in a fixed order, rows in order, and what rank 0 says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decoct.core import ranks
from decoct.core.errors import DecoctError
from tests.processes import Processes


def _facts() -> tuple[int, int, int]:
    with ranks.alone():
        by_itself = ranks.world()
    return ranks.rank(), ranks.world(), by_itself


def test_each_process_knows_its_place(four_processes: Processes) -> None:
    assert four_processes.call(_facts) == [(k, 4, 1) for k in range(4)]


def test_one_process_is_the_whole_world() -> None:
    assert _facts() == (0, 1, 1)


def _divided(count: int) -> tuple[list[int], list[float], list[float]]:
    items = list(ranks.share(range(count)))
    found = ranks.in_order(
        [torch.tensor(float(i)) for i in items], total=count, like=torch.zeros(())
    )
    mine = ranks.rows(count)
    rows = ranks.joined(torch.arange(float(count))[mine], count)
    return items, [float(value) for value in found], rows.tolist()


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_what_is_divided_comes_back_in_order(four_processes: Processes, count: int) -> None:
    answers = four_processes.call(_divided, count)
    assert sorted(i for items, _, _ in answers for i in items) == list(range(count))
    for _, in_order, rows in answers:
        assert in_order == rows == list(map(float, range(count)))


def _sum(values: list[float]) -> Tensor:
    return ranks.total(torch.tensor(values[ranks.rank()]))


def test_sums_are_in_the_order_of_ranks(four_processes: Processes) -> None:
    values = [1e8, 1.0, -1e8, 1.0]  # in float32 another order gives another sum
    expected = torch.zeros(())
    for value in values:
        expected = expected + torch.tensor(value)
    assert all(torch.equal(found, expected) for found in four_processes.call(_sum, values))


def _mean(total: int, count: int) -> Tensor:
    """The mean of so many results of so many numbers, exchanged in several pieces."""
    draws = torch.Generator().manual_seed(total)
    every = [torch.randn(count, 1, generator=draws) for _ in range(total)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_AT_ONCE", 500)
        return ranks.mean_in_order(ranks.share(every), total=total, like=torch.zeros(count, 1))


@pytest.mark.parametrize("count", [0, 1, 129, 1537])
def test_means_have_the_bits_of_one_process(four_processes: Processes, count: int) -> None:
    for total in (1, 3, 4, 17):  # torch adds 17 numbers in another order than one by one
        expected = _mean(total, count)
        assert expected.shape == (count, 1)
        for found in four_processes.call(_mean, total, count):
            assert torch.equal(found, expected)


def _loss(z: Tensor) -> Tensor:
    centred = z - z.mean(0)
    return (centred.T @ centred).square().sum() + z.sin().sum()


def _slope_of_all(count: int) -> Tensor:
    """The mean over ranks of the gradient of a loss of all rows, as DDP takes it."""
    x = torch.linspace(0, 1, count * 3, dtype=torch.float64).view(count, 3)
    weight = torch.eye(3, dtype=torch.float64, requires_grad=True)
    _loss(ranks.joined(x[ranks.rows(count)] @ weight, count)).backward()
    assert weight.grad is not None
    return ranks.total(weight.grad) / ranks.world()


def _slope_through_total(count: int) -> Tensor:
    """The same for a loss that is a mean over rows, each minus the mean of all."""
    x = torch.linspace(0, 1, count * 3, dtype=torch.float64).view(count, 3).square()
    weight = torch.eye(3, dtype=torch.float64, requires_grad=True)
    z = x[ranks.rows(count)] @ weight
    mean = ranks.total(z.sum(0)) / count
    loss = (z - mean).pow(4).sum() / count * ranks.world()
    loss.backward()
    assert weight.grad is not None
    return ranks.total(weight.grad) / ranks.world()


@pytest.mark.parametrize("slope", [_slope_of_all, _slope_through_total])
@pytest.mark.parametrize("count", [3, 9])
def test_gradients_are_those_of_one_process(
    four_processes: Processes, slope: object, count: int
) -> None:
    assert callable(slope)
    for found in four_processes.call(slope, count):
        torch.testing.assert_close(found, slope(count), rtol=1e-12, atol=1e-12)


def _asked() -> tuple[bool, bool, list[str], str]:
    refusal = ""
    try:
        ranks.first_does(_refuse)
    except DecoctError as error:
        refusal = str(error)
    yes = ranks.first_says(lambda: ranks.is_first())
    no = ranks.first_says(lambda: not ranks.is_first())
    return yes, no, ranks.all_say("ä" * ranks.rank()), refusal


def _refuse() -> None:
    raise DecoctError("the disk is full; free some space")


def test_all_hear_what_the_first_says(four_processes: Processes) -> None:
    expected = (True, False, ["", "ä", "ää", "äää"], "the disk is full; free some space")
    assert four_processes.call(_asked) == [expected] * 4


# Trains a network together, and says which of torch's threads there are when that is over.
TRAINS = """
import os
from pathlib import Path
import torch
from decoct.core import ranks
from decoct.training.divided import divided

with ranks.together():
    divided(torch.nn.Linear(3, 2))(torch.ones(4, 3)).sum().backward()
print([name for task in os.listdir("/proc/self/task")
       if "gloo" in (name := Path(f"/proc/self/task/{task}/comm").read_text())])
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds threads in /proc")
def test_no_thread_of_the_group_outlives_it() -> None:
    """A process that ends while they are at work may abort."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--no-python", sys.executable, "-c", TRAINS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "".join(done.stdout.split()) == "[][]", done.stderr
