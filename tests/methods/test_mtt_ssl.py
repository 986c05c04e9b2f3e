"""Matching the self-supervised loss: exact with augmentations, resumes bit-identically."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.trajectories import Trajectories
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.matching.inner_gradient import FlatLoss, InnerGradient
from decoct.matching.loop import MatchingConfig
from decoct.matching.unroll import (
    MatchingGradient,
    matching_gradient,
    matching_gradient_reference,
    matching_loss,
    train,
)
from decoct.methods import mtt_ssl as module
from decoct.methods.mtt_ssl import (
    MTTSSL,
    flat_loss,
    mtt_ssl,
    step_losses,
    train_ssl_experts,
)
from decoct.models.convnet import convnet
from decoct.models.registry import NetworkConfig
from decoct.report.export import export
from decoct.report.show import describe
from decoct.training.expert import ExpertsConfig
from decoct.training.objective import Algorithm, Objective
from decoct.training.pretrain import PretrainConfig, pretrain

START = torch.tensor([1, 4, 7, 10, 13, 16, 19, 22])
EXPERTS = ExpertsConfig(count=2, epochs=2, batch=16, network=NetworkConfig(width=4, depth=2))
OWN: dict[str, Any] = {"objective": Objective(projector=6), "lr": 0.01}
MATCHING = MatchingConfig(
    iterations=6,
    inner_steps=2,
    expert_epochs=1,
    max_start_epoch=2,
    batch=4,
    optimiser="adam",
    lr_images=0.05,
    lr_log_lr=0.02,
    inner_lr=0.01,
    checkpoint_every=2,
)
ALGORITHMS = pytest.mark.parametrize("algorithm", ["barlow_twins", "simclr"])


# The gradient


def problem(
    algorithm: Algorithm, augment: AugmentConfig, images: Images
) -> tuple[FlatLoss, dict[str, Any]]:
    """The loss of a small ConvNet, and what `matching_gradient` needs, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = convnet(size=16, channels=images.channels, width=3, depth=2, outputs=5).double()
        start = parameters_to_vector(network.parameters()).detach()
        goal = start + 0.1 * torch.randn_like(start)
    real = images.normalised(START[:6]).double()
    tensors = {
        "start": start,
        "goal": goal,
        "images": real,
        "targets": real.new_zeros(6, 0),
        "lr": torch.tensor(0.02, dtype=torch.float64),
        "batches": [torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 0]), torch.tensor([5, 3, 1])],
    }
    return flat_loss(network, images, Objective(algorithm, augment)), tensors


def by_autograd(losses: list[FlatLoss]) -> list[InnerGradient]:
    return [InnerGradient.by_autograd(loss) for loss in losses]


@ALGORITHMS
@pytest.mark.parametrize("momentum, kept_tapes", [(0.0, 0), (0.9, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sweep_equals_whole_unroll_with_augmentations(
    algorithm: Algorithm, momentum: float, kept_tapes: int, channels: int, tiny_images: Images
) -> None:
    augment = AugmentConfig(jitter_probability=0.7, grey_probability=0.3)
    images = Images.from_array(tiny_images.pixels[:, :channels])
    loss, arguments = problem(algorithm, augment, images)
    arguments["momentum"] = momentum
    losses = step_losses(loss, count=3, seed=5, at=(7, 0))
    got = matching_gradient(by_autograd(losses), **arguments, kept_tapes=kept_tapes)
    expected = matching_gradient_reference(losses, **arguments)
    assert float(expected.images.norm()) > 0
    for what in ("loss", "images", "lr"):
        a, b = getattr(got, what), getattr(expected, what)
        assert float((a - b).norm()) < 1e-9 * float(b.norm()), what
    assert got.targets.shape == expected.targets.shape == (6, 0)


@ALGORITHMS
def test_gradient_is_the_derivative_by_finite_differences(
    algorithm: Algorithm, tiny_images: Images
) -> None:
    loss, arguments = problem(algorithm, AugmentConfig(jitter=0.0), tiny_images)
    inner = by_autograd(step_losses(loss, count=3, seed=1, at=(0, 0)))
    gradient = matching_gradient(inner, **arguments)
    start, goal = arguments.pop("start"), arguments.pop("goal")
    images, lr = arguments.pop("images"), arguments.pop("lr")
    along = torch.randn(images.shape, generator=torch.Generator().manual_seed(2)).double()

    def value(step: float) -> float:
        end = train(inner, start=start, images=images + step * along, lr=lr, **arguments)
        return float(matching_loss(end, start, goal))

    difference = (value(1e-6) - value(-1e-6)) / 2e-6
    assert float((gradient.images * along).sum()) == pytest.approx(difference, rel=1e-4)


def test_draws_follow_from_seed_place_and_step_alone(tiny_images: Images) -> None:
    loss, given = problem("simclr", AugmentConfig(), tiny_images)
    inputs = given["start"], given["images"], given["targets"]

    def values(seed: int, *at: int) -> list[float]:
        return [float(f(*inputs)) for f in step_losses(loss, count=3, seed=seed, at=at)]

    first = values(0, 1, 0)
    torch.manual_seed(44)
    state = torch.get_rng_state()
    assert values(0, 1, 0) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert len({*first, *values(0, 2, 0), *values(0, 1, 1), *values(1, 1, 0)}) == 12


# Experts


@pytest.fixture(scope="module")
def trajectories(tiny_images: Images, tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    folder = tmp_path_factory.mktemp("ssl-experts")
    return train_ssl_experts(images=tiny_images, folder=folder, **OWN, experts=EXPERTS)


def test_experts_go_on_where_they_stopped_to_the_same_bits(
    trajectories: Trajectories, tiny_images: Images, tmp_path: Path
) -> None:
    torch.manual_seed(9)  # the global generator has no say
    one = replace(EXPERTS, count=1)
    for experts in (one, EXPERTS):
        again = train_ssl_experts(images=tiny_images, folder=tmp_path, **OWN, experts=experts)
    assert all(torch.equal(again.expert(k), trajectories.expert(k)) for k in range(2))
    assert trajectories.epochs == 2
    assert not torch.equal(trajectories.expert(0), trajectories.expert(1))


@ALGORITHMS
def test_experts_learn(algorithm: Algorithm, tiny_images: Images, tmp_path: Path) -> None:
    augment = AugmentConfig(min_crop=0.6, jitter=0.0, grey_probability=0.0)
    objective = Objective(algorithm, augment, projector=8)
    experts = replace(EXPERTS, count=1, epochs=12)
    train_ssl_experts(
        images=tiny_images, folder=tmp_path, objective=objective, lr=0.02, experts=experts
    )
    losses = storage.load_tensors(tmp_path / "00000.safetensors", kind="expert")[0]["losses"]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])


# Distilling

Distil = Callable[..., DistilledSet]


@pytest.fixture
def distil(tiny_images: Images, trajectories: Trajectories) -> Distil:
    def call(matching: MatchingConfig = MATCHING, **more: Any) -> DistilledSet:
        given: dict[str, Any] = {**OWN, **more}
        return mtt_ssl(
            images=tiny_images, trajectories=trajectories, index=START, matching=matching, **given
        )

    return call


def assert_same(a: DistilledSet, b: DistilledSet) -> None:
    assert torch.equal(a.images, b.images)
    assert a.rule == b.rule
    assert all(torch.equal(a.history[name], b.history[name]) for name in a.history)


def test_a_set_has_learnt_images_and_no_targets(distil: Distil, tiny_images: Images) -> None:
    result = distil()
    assert result.method == "mtt-ssl"
    assert result.targets.shape == (8, 0) and not result.has_targets
    assert not torch.equal(result.images, tiny_images.normalised(START))
    assert len(result.history["loss"]) == MATCHING.iterations
    assert len(result.history["lr"].unique()) > 1
    assert result.rule.lr > 0 and result.rule.batch == MATCHING.batch


def test_distilling_lowers_the_matching_loss(distil: Distil) -> None:
    loss = distil(replace(MATCHING, iterations=40, inner_lr=0.0, inner_steps=4)).history["loss"]
    assert float(loss[-10:].mean()) < float(loss[:10].mean())


class Interrupted(Exception):
    pass


def interrupt_after(calls: int, patch: pytest.MonkeyPatch) -> None:
    real, left = module.matching_gradient, iter(range(calls))

    def once_more(*arguments: Any, **more: Any) -> MatchingGradient:
        if next(left, None) is None:
            raise Interrupted
        return real(*arguments, **more)

    patch.setattr(module, "matching_gradient", once_more)


@pytest.mark.parametrize("iterations, optimiser", [(1, "adam"), (5, "adam"), (5, "sgd")])
def test_resumed_is_bit_equal_to_unbroken(
    iterations: int, optimiser: Any, distil: Distil, tmp_path: Path, monkeypatch: Any
) -> None:
    matching, state = replace(MATCHING, optimiser=optimiser), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(iterations, patch)
        distil(matching, state=state)
    assert state.exists() or iterations <= MATCHING.checkpoint_every
    torch.manual_seed(3)
    assert_same(distil(matching, state=state), distil(matching))


def test_non_finite_stops_with_the_last_good_state(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, real, calls = (
        distil(replace(MATCHING, iterations=3)),
        module.matching_gradient,
        iter("aabab"),  # the third is not finite, nor is it when it is tried again
    )

    def then_nan(*arguments: Any, images: Tensor, **more: Any) -> MatchingGradient:
        found = real(*arguments, images=images, **more)
        return found if next(calls, "b") == "a" else replace(found, loss=found.loss * torch.nan)

    monkeypatch.setattr(module, "matching_gradient", then_nan)
    stopped = distil()
    assert len(stopped.history["loss"]) == 2
    assert torch.equal(stopped.history["loss"], good.history["loss"][:2])


# What becomes of a set


def test_a_network_is_pre_trained_on_it_by_its_own_objective(
    distil: Distil, tmp_path: Path
) -> None:
    distil().save(tmp_path / "distilled.safetensors")
    loaded = load_distilled(tmp_path / "distilled.safetensors")
    config = PretrainConfig(network=NetworkConfig(name="resnet10-small", width=4), epochs=2)
    first = pretrain(distilled=loaded, config=config)
    torch.manual_seed(5)
    again = pretrain(distilled=loaded, config=config)
    assert first.provenance["losses"] == again.provenance["losses"]
    simclr = {**loaded.provenance["objective"], "algorithm": "simclr"}
    other = replace(loaded, provenance={**loaded.provenance, "objective": simclr})
    assert (
        pretrain(distilled=other, config=config).provenance["losses"] != first.provenance["losses"]
    )


def test_it_is_described_and_exported_as_what_it_is(distil: Distil, tmp_path: Path) -> None:
    path = tmp_path / "distilled.safetensors"
    distil().save(path)
    assert "none: barlow_twins loss of two views" in describe(path)
    readme = (export(path, out=tmp_path / "set") / "README.txt").read_text()
    assert "minimise the barlow_twins loss of the network's outputs for two" in readme


def test_bad_settings_are_refused() -> None:
    for bad in (0.0, float("inf"), -1.0):
        with pytest.raises(DecoctError, match=r"mtt_ssl\.lr"):
            MTTSSL(lr=bad)
    with pytest.raises(DecoctError, match="projector"):
        Objective(projector=0)
