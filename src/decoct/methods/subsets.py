"""Subsets by name."""

import torch
from torch import Tensor

from decoct.artefacts.targets import Targets
from decoct.methods.k_center import k_center_subset
from decoct.methods.k_means import kmeans_subset
from decoct.methods.sas import SASConfig, sas_subset

BY_TARGETS = ("k-means", "k-center", "sas")
SUBSETS = ("random", "high-loss", *BY_TARGETS)


def subset_by_targets(
    method: str,
    *,
    targets: Targets,
    count: int,
    seed: int,
    sas: SASConfig,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The `count` indices that one of `BY_TARGETS` chooses: int64, sorted."""
    if method == "sas":
        return sas_subset(targets=targets, count=count, seed=seed, config=sas, device=device)
    choose = kmeans_subset if method == "k-means" else k_center_subset
    return choose(targets=targets, count=count, seed=seed, device=device)
