"""Targets to choose from, as they are: no mean taken off, no scale."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.methods.k_center import k_center_subset
from decoct.methods.k_means import kmeans_subset
from decoct.methods.sas import sas_subset


def as_targets(values: Tensor) -> Targets:
    width = values.shape[1]
    return Targets(
        values.float(),
        shift=torch.zeros(width),
        rotation=torch.zeros(0, 0),
        scale=torch.ones(width),
    )


@pytest.fixture(
    params=[kmeans_subset, k_center_subset, partial(sas_subset, classes=3)],
    ids=["k-means", "k-center", "sas"],
)
def choose(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    """Each of the methods, as `choose(values, count, seed)`."""

    def run(values: Tensor, count: int, seed: int = 0) -> Tensor:
        found: Tensor = request.param(targets=as_targets(values), count=count, seed=seed)
        return found

    return run
