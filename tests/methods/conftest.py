"""Targets to choose from, as they are: no mean taken off, no scale."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from decoct.artefacts.targets import Targets


def as_targets(values: Tensor) -> Targets:
    width = values.shape[1]
    return Targets(
        values.float(),
        shift=torch.zeros(width),
        rotation=torch.zeros(0, 0),
        scale=torch.ones(width),
    )


@pytest.fixture(params=["k-means", "k-center", "sas"])
def choose(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    """Each of the methods, as `choose(values, count, seed)`."""
    from decoct.methods.subsets import subset_by_targets

    from decoct.methods.sas import SASConfig

    def run(values: Tensor, count: int, seed: int = 0) -> Tensor:
        return subset_by_targets(
            request.param,
            targets=as_targets(values),
            count=count,
            seed=seed,
            sas=SASConfig(classes=3),
        )

    return run
