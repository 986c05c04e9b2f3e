"""Matching divided over ranks learns the same bits as one process, and all ranks go the same way."""

import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import checkpoint, ranks, storage
from decoct.core.errors import DivergedError, Terminated
from decoct.data.images import Images
from decoct.matching import loop
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.cuda_graph import Match
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.loop import MatchingConfig, match_trajectories
from decoct.matching.unroll import MatchingGradient, matching_gradient
from decoct.methods.mkdt import mkdt
from decoct.methods.mtt_ssl import mtt_ssl
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.objective import Objective
from tests.conftest import smooth_pixels
from tests.processes import Processes

SIZE, INDEX = 8, torch.arange(4)
NETWORK = NetworkConfig(width=2, depth=1)
CONFIG = MatchingConfig(
    iterations=50,
    inner_steps=2,
    batch=2,
    inner_momentum=0.5,
    experts_per_step=4,
    lr_images=20.0,
    lr_targets=5.0,
    lr_log_lr=0.1,
    checkpoint_every=2,
)
OBJECTIVE = Objective(projector=4, algorithm="simclr")
Learnt = dict[str, Tensor]


def _experts(folder: Path, outputs: int) -> Trajectories:
    """Two experts that took two random steps from a random start."""
    draws = torch.Generator().manual_seed(0)
    network = create_network(NETWORK, channels=3, size=SIZE, outputs=outputs)
    count = sum(p.numel() for p in network.parameters())
    for k in range(2):
        steps = 0.1 * torch.randn(4, count, generator=draws)
        tensors = {"parameters": steps.cumsum(0), "losses": torch.ones(3)}
        meta = {"expert": k, "seed": 0, "config": {"network": asdict(NETWORK)}}
        storage.save_tensors(folder / f"{k:05d}.safetensors", tensors, kind="expert", meta=meta)
    return Trajectories.load(folder)


IMAGES = Images.from_array(smooth_pixels(8, seed=0, size=SIZE), name="eight")
TARGETS = fit_targets(
    torch.randn(8, 2, generator=torch.Generator().manual_seed(1)), TargetsConfig()
)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    return _experts(tmp_path_factory.mktemp("experts"), TARGETS.dimensions)


def _mkdt(experts: Trajectories, config: MatchingConfig, state: Path | None = None) -> Learnt:
    found = mkdt(
        images=IMAGES,
        targets=TARGETS,
        trajectories=experts,
        index=INDEX,
        config=config,
        state=state,
        metrics=state and state.with_name("metrics.jsonl"),
    )
    return {"images": found.images, "targets": found.targets, **found.history}


def _in_float64(experts: Trajectories) -> Learnt:
    network = create_network(NETWORK, channels=3, size=SIZE, outputs=TARGETS.dimensions)
    inner = InnerGradient.by_hand(ConvNetGradient(network.double()))
    match: Match = partial(matching_gradient, inner, momentum=0.5, kept_tapes=1)
    found = match_trajectories(
        lambda *_: match,
        inner,
        images=IMAGES.normalised(INDEX).double(),
        targets=TARGETS.values[INDEX].double(),
        trajectories=experts,
        config=CONFIG,
        seed=0,
        label="float64",
    )
    return found.tensors()


def assert_same_bits(found: Learnt, expected: Learnt) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_mkdt_learns_the_same_bits_on_2_and_4_processes(
    two_processes: Processes, four_processes: Processes, experts: Trajectories
) -> None:
    alone = _mkdt(experts, CONFIG)
    assert len(alone["loss"]) == 50 and alone["loss"][-10:].mean() < alone["loss"][:10].mean()
    for processes in (two_processes, four_processes):
        for found in processes.call(_mkdt, experts, CONFIG):
            assert_same_bits(found, alone)


def test_so_it_does_in_float64(four_processes: Processes, experts: Trajectories) -> None:
    alone = _in_float64(experts)
    assert alone["images"].dtype == torch.float64
    for found in four_processes.call(_in_float64, experts):
        assert_same_bits(found, alone)
