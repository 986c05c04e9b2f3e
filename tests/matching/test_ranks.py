"""Matching divided over ranks learns the bits of one process, and all ranks go the same way."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import checkpoint, storage
from decoct.core.errors import DivergedError, Terminated
from decoct.core.place import FAILING_STEP, STATE
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


def _in_float64(experts: Trajectories) -> tuple[Learnt, int]:
    """What is learnt, and how many gradients this rank took for it."""
    network = create_network(NETWORK, channels=3, size=SIZE, outputs=TARGETS.dimensions)
    inner = InnerGradient.by_hand(ConvNetGradient(network.double()))
    match: Match = partial(matching_gradient, inner, momentum=0.5, kept_tapes=1)
    taken: list[int] = []

    def match_at(iteration: int, expert: int) -> Match:
        taken.append(expert)
        return match

    found = match_trajectories(
        match_at,
        inner,
        images=IMAGES.normalised(INDEX).double(),
        targets=TARGETS.values[INDEX].double(),
        trajectories=experts,
        config=CONFIG,
        seed=0,
        label="float64",
    )
    return found.tensors(), len(taken)


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
    alone, taken = _in_float64(experts)
    assert alone["images"].dtype == torch.float64
    for found, share in four_processes.call(_in_float64, experts):
        assert_same_bits(found, alone)
        assert taken == 200 and share == 50


def _mtt_ssl(experts: Trajectories) -> Learnt:
    config = replace(CONFIG, iterations=3, experts_per_step=3)
    found = mtt_ssl(
        images=IMAGES, trajectories=experts, index=INDEX, objective=OBJECTIVE, matching=config
    )
    return {"images": found.images, **found.history}


def test_mtt_ssl_learns_the_same_bits_on_2_processes(
    two_processes: Processes, tmp_path: Path
) -> None:
    experts = _experts(tmp_path, OBJECTIVE.projector)
    alone = _mtt_ssl(experts)
    for found in two_processes.call(_mtt_ssl, experts):
        assert_same_bits(found, alone)


# Interrupts


def _interrupted(experts: Trajectories, state: Path, error: BaseException) -> None:
    """Learn until the fourth iteration raises an error."""
    plain = loop._gradient

    def gradient(*given: object) -> MatchingGradient:
        if given[-1] == 3:
            raise error
        return plain(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(loop, "_gradient", gradient)
        _mkdt(experts, CONFIG, state)


def test_it_goes_on_with_another_number_of_processes(
    two_processes: Processes, four_processes: Processes, experts: Trajectories, tmp_path: Path
) -> None:
    """After a request to end, and after another rank has gone, with which gloo then fails."""
    config = replace(CONFIG, iterations=6)
    alone = _mkdt(experts, config)
    by_two, by_one = tmp_path / "two.safetensors", tmp_path / "one.safetensors"
    two_processes.call(_interrupted, experts, by_two, Terminated())
    _interrupted(experts, by_one, RuntimeError("Connection closed by peer"))
    for state in (by_two, by_one):
        saved = checkpoint.load(state)
        assert saved is not None and len(saved[1]["loss"]) == 2
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 6  # three of either run: of several ranks only the first writes
    assert_same_bits(_mkdt(experts, config, by_two), alone)
    for found in four_processes.call(_mkdt, experts, config, by_one):
        assert_same_bits(found, alone)


# Numbers that are not finite


def _failing(experts: Trajectories, state: Path, at: int) -> tuple[str, int]:
    """Learn, with a gradient of the second expert that is not finite at an iteration."""
    network = create_network(NETWORK, channels=3, size=SIZE, outputs=TARGETS.dimensions)
    inner = InnerGradient.by_hand(ConvNetGradient(network))

    def match_at(iteration: int, expert: int) -> Match:
        def match(**given: Any) -> MatchingGradient:
            found = matching_gradient(inner, **given)
            failing = iteration == at and expert == 1
            return replace(found, lr=(0 * found.lr).log()) if failing else found

        return match

    try:
        found = match_trajectories(
            match_at,
            inner,
            images=IMAGES.normalised(INDEX),
            targets=TARGETS.values[INDEX],
            trajectories=experts,
            config=replace(CONFIG, iterations=4, experts_per_step=2, inner_lr=0.1),
            seed=0,
            label="failing",
            state=state,
        )
    except DivergedError as error:
        return str(error), 0
    return "", found.iterations


def test_all_ranks_stop_where_one_has_numbers_that_are_not_finite(
    two_processes: Processes, experts: Trajectories, tmp_path: Path
) -> None:
    kept = tmp_path / FAILING_STEP
    assert two_processes.call(_failing, experts, tmp_path / STATE, 2) == [("", 2)] * 2
    saved = checkpoint.load(kept)
    assert saved is not None and saved[1]["failing"]["step"] == "iteration 2"
    assert saved[1]["failing"]["where"].startswith("log gives the first number")  # said by rank 1
    kept.unlink()
    alone = _failing(experts, tmp_path / STATE, 0)
    assert "inner_lr (iteration 0: log gives" in alone[0]
    assert two_processes.call(_failing, experts, tmp_path / STATE, 0) == [alone] * 2
