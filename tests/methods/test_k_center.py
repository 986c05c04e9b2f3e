"""Farthest-first against the same written plainly."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from decoct.methods.k_center import k_center_subset
from tests.methods.conftest import as_targets

# Whole numbers: distances are exact, and many are equal.
ROWS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=15)


def _plainly(rows: list[tuple[int, int]], first: int, count: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        left = [i for i in range(len(rows)) if i not in chosen]
        nearest = {
            i: min((rows[i][0] - rows[j][0]) ** 2 + (rows[i][1] - rows[j][1]) ** 2 for j in chosen)
            for i in left
        }
        chosen.append(max(left, key=lambda i: nearest[i]))  # the first of those equally far
    return sorted(chosen)


@given(rows=ROWS, seed=st.integers(0, 9), data=st.data())
def test_it_is_farthest_first(rows: list[tuple[int, int]], seed: int, data: st.DataObject) -> None:
    targets = as_targets(torch.tensor(rows))
    count = data.draw(st.integers(1, len(rows)))
    first = int(k_center_subset(targets=targets, count=1, seed=seed))
    found = k_center_subset(targets=targets, count=count, seed=seed)
    assert found.tolist() == _plainly(rows, first, count)


def test_duplicates_come_last() -> None:
    apart = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    targets = as_targets(1000 + torch.cat([apart, apart, apart]))  # far from the origin
    found = k_center_subset(targets=targets, count=7, seed=0)
    assert sorted((found % 7).tolist()) == list(range(7))
