"""k-means on clusters whose answer is known, and centres that want the same image."""

import torch

from decoct.methods import k_means as kmeans
from decoct.methods.k_means import cluster_centres, kmeans_subset
from tests.methods.conftest import as_targets

CLUSTERS = 6


def _clusters() -> torch.Tensor:
    """Six far apart, of nine: one in the middle and eight around it, of which two by two cancel."""
    draws = torch.Generator().manual_seed(0)
    middles = 100 * torch.eye(CLUSTERS)
    offsets = 1 + torch.rand(CLUSTERS, 4, CLUSTERS, generator=draws)
    around = torch.cat([torch.zeros(CLUSTERS, 1, CLUSTERS), offsets, -offsets], dim=1)
    return (middles[:, None] + around).flatten(0, 1)


def test_the_middle_of_each_cluster() -> None:
    order = torch.randperm(9 * CLUSTERS, generator=torch.Generator().manual_seed(1))
    middles = (order % 9 == 0).nonzero()[:, 0]
    for seed in range(5):
        targets = as_targets(_clusters()[order])
        found = kmeans_subset(targets=targets, count=CLUSTERS, seed=seed)
        assert torch.equal(found, middles)


def test_centres_are_means() -> None:
    centres = cluster_centres(_clusters(), count=CLUSTERS, seed=0)
    expected = 100 * torch.eye(CLUSTERS)
    found = centres[centres.argmax(1).argsort()]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_centres_that_want_one_image_get_the_nearest_two() -> None:
    values = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    centres = torch.tensor([[0.2], [0.3], [0.1], [4.0]])
    assert kmeans.nearest_distinct(values, centres).tolist() == [0, 1, 2, 3]


def test_blocks_change_nothing(monkeypatch) -> None:
    values, draws = _clusters(), torch.Generator().manual_seed(2)
    centres = 50 * torch.rand(30, CLUSTERS, generator=draws)
    whole = kmeans.nearest_distinct(values, centres)
    monkeypatch.setattr(kmeans, "BLOCK", 3 * len(values))
    assert torch.equal(kmeans.nearest_distinct(values, centres), whole)
