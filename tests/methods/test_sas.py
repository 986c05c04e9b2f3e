"""SAS against the same written plainly."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from decoct.core.errors import DecoctError
from decoct.methods import sas
from decoct.methods.sas import SAS, sas_subset, shares
from tests.methods.conftest import as_targets

# All of length 2, so that cosines and their sums are exact, and many are equal.
ROWS = st.lists(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 4), min_size=1, max_size=12)


def _similarity(a: Tensor, b: Tensor) -> float:
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    return max(0.0, float(a @ b) / lengths) if lengths else 0.0


def _plainly(values: Tensor, count: int, *, penalty: bool) -> list[int]:
    """One class: recompute the score of each image after every choice."""
    chosen: list[int] = []
    while len(chosen) < count:
        scores = {
            i: sum(_similarity(values[i], other) for other in values)
            - 2 * penalty * sum(_similarity(values[i], values[j]) for j in chosen)
            for i in range(len(values))
            if i not in chosen
        }
        chosen.append(max(scores, key=lambda i: scores[i]))  # the first of those equally good
    return chosen


@given(rows=ROWS, zeros=st.integers(0, 2), penalty=st.booleans(), data=st.data())
def test_it_is_the_greedy_choice(
    rows: list[tuple[float, ...]], zeros: int, penalty: bool, data: st.DataObject
) -> None:
    values = torch.tensor(rows + [(0.0,) * 4] * zeros)
    count = data.draw(st.integers(1, len(values)))
    found = sas_subset(targets=as_targets(values), count=count, seed=0, classes=1, penalty=penalty)
    assert found.tolist() == sorted(_plainly(values, count, penalty=penalty))


@pytest.mark.parametrize("penalty", [True, False])
def test_it_is_the_greedy_choice_in_each_class(penalty: bool) -> None:
    """Three clusters of 12, 9 and 9 around distant points: it chooses 4, 3 and 3 of them."""
    draws = torch.Generator().manual_seed(0)
    middles = 20 * torch.eye(3).repeat_interleave(torch.tensor([12, 9, 9]), 0)
    values = middles + 6 * torch.randn(30, 3, generator=draws).clamp(-1, 1)
    expected = []
    for begin, end, count in ((0, 12, 4), (12, 21, 3), (21, 30, 3)):
        expected += [begin + i for i in _plainly(values[begin:end], count, penalty=penalty)]
    found = sas_subset(targets=as_targets(values), count=10, seed=0, classes=3, penalty=penalty)
    assert found.tolist() == sorted(expected)


def test_without_penalty_it_sorts_by_row_sum() -> None:
    values = torch.randn(200, 16, generator=torch.Generator().manual_seed(0)).double()
    unit = values / values.norm(dim=1, keepdim=True)
    sums = (unit @ unit.T).clamp_min(0).sum(1)
    found = sas_subset(targets=as_targets(values), count=20, seed=0, classes=1, penalty=False)
    assert found.tolist() == sorted(sums.topk(20).indices.tolist())


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = as_targets(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
    whole = sas_subset(targets=targets, count=20, seed=0)
    monkeypatch.setattr(sas, "BLOCK", 7)
    assert torch.equal(sas_subset(targets=targets, count=20, seed=0), whole)


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8), data=st.data())
def test_shares_are_of_the_size_asked_for(sizes: list[int], data: st.DataObject) -> None:
    total = sum(sizes) or 1
    count = data.draw(st.integers(0, sum(sizes)))
    found = shares(sizes, count) if sum(sizes) else [0]
    assert sum(found) == count
    for size, share in zip(sizes, found, strict=False):
        assert 0 <= count * size // total <= share <= min(size, count * size // total + 1)


def test_more_classes_than_images() -> None:
    targets = as_targets(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    assert len(sas_subset(targets=targets, count=3, seed=0)) == 3


def test_settings_that_cannot_be() -> None:
    with pytest.raises(DecoctError, match=r"sas.classes is 0"):
        SAS(classes=0)
