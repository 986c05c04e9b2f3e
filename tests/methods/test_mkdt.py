"""MKDT lowers its loss, continues where it stopped, and stops if it must."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories, read_expert
from decoct.core import checkpoint, seeding, storage
from decoct.core.errors import DecoctError, Terminated
from decoct.data.images import Images
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient, distillation_loss
from decoct.matching.loop import MatchingConfig, draw_batches
from decoct.matching.unroll import MatchingGradient, matching_loss, train
from decoct.methods import mkdt as module
from decoct.methods.mkdt import mkdt
from decoct.models.registry import create_network
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts

START = torch.tensor([1, 4, 7, 10, 13, 16, 19, 22])
CPU = torch.device("cpu")
ADAM = MatchingConfig(
    iterations=7,
    inner_steps=3,
    expert_epochs=2,
    max_start_epoch=2,
    batch=4,
    optimiser="adam",
    lr_images=0.05,
    lr_targets=0.05,
    lr_log_lr=0.02,
    inner_lr=0.1,
    checkpoint_every=3,
)
SGD = replace(ADAM, optimiser="sgd", lr_images=20.0, lr_targets=5.0, lr_log_lr=0.1)
Distil = Callable[..., DistilledSet]


@pytest.fixture
def distil(tiny_images: Images, tiny_targets: Targets, tiny_trajectories: Trajectories) -> Distil:
    def call(config: MatchingConfig, **more: Any) -> DistilledSet:
        arguments: dict[str, Any] = {"trajectories": tiny_trajectories, "index": START, **more}
        return mkdt(images=tiny_images, targets=tiny_targets, config=config, **arguments)

    return call


def constant_gradient(images: Tensor, targets: Tensor, value: float = 1.0) -> MatchingGradient:
    """A gradient of ones, at a loss of `value`."""
    return MatchingGradient(
        loss=torch.tensor(value),
        images=torch.ones_like(images),
        targets=torch.ones_like(targets),
        lr=torch.tensor(1.0),
    )


def assert_same(a: DistilledSet, b: DistilledSet) -> None:
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.targets, b.targets)
    assert a.rule == b.rule
    assert a.history.keys() == b.history.keys()
    assert all(torch.equal(a.history[name], b.history[name]) for name in a.history)


# What it learns


def mean_matching_loss(
    images: Tensor,
    targets: Tensor,
    lr: float,
    momentum: float,
    trajectories: Trajectories,
    real: Images,
) -> float:
    """Over every expert and start epoch, and the same batches for all comers."""
    network = create_network(trajectories.network, channels=3, size=real.size, outputs=4)
    inner = InnerGradient.by_autograd(distillation_loss(network))
    values = []
    for k in range(len(trajectories)):
        for s in range(ADAM.max_start_epoch):
            start, goal = trajectories.expert(k)[s], trajectories.expert(k)[s + 2]
            batches = draw_batches(len(images), ADAM, seeding.generator(9, "test", k, s), CPU)
            end = train(
                inner,
                start=start,
                images=images,
                targets=targets,
                lr=torch.tensor(lr),
                batches=batches,
                momentum=momentum,
            )
            values.append(matching_loss(end, start, goal))
    return float(torch.stack(values).mean())


@pytest.mark.parametrize(
    "config",
    [ADAM, SGD, replace(ADAM, inner_momentum=0.5)],
    ids=["adam", "sgd", "inner momentum"],
)
def test_distilling_lowers_the_matching_loss(
    config: MatchingConfig,
    distil: Distil,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_trajectories: Trajectories,
) -> None:
    result = distil(replace(config, iterations=30, inner_lr=0.0))
    searched = float(result.history["lr"][0])
    real = tiny_images.normalised(START)
    before, after = (
        mean_matching_loss(
            images, targets, lr, config.inner_momentum, tiny_trajectories, tiny_images
        )
        for images, targets, lr in (
            (real, tiny_targets.values[START], searched),
            (result.images, result.targets, result.rule.lr),
        )
    )
    assert after < 0.95 * before < 1


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_rate_belongs_to_the_momentum_that_it_was_learnt_with(
    momentum: float, distil: Distil
) -> None:
    result = distil(replace(ADAM, iterations=1, inner_momentum=momentum))
    assert result.rule.momentum == momentum


def test_memory_for_tapes_changes_the_speed_alone(
    distil: Distil,
    tiny_images: Images,
    tiny_trajectories: Trajectories,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = create_network(
        tiny_trajectories.network, channels=3, size=tiny_images.size, outputs=4
    )
    one_tape = ConvNetGradient(network).tape_bytes(SGD.batch, tiny_images.size) / 1e9
    kept: list[int] = []
    real = module.matching_gradient

    def record(*arguments: Any, kept_tapes: int, **more: Any) -> MatchingGradient:
        kept.append(kept_tapes)
        return real(*arguments, kept_tapes=kept_tapes, **more)

    monkeypatch.setattr(module, "matching_gradient", record)
    plain, some, all_ = (
        distil(replace(SGD, memory=tapes * one_tape, iterations=2)) for tapes in (0.9, 1.1, 9)
    )
    assert kept == [0, 0, 1, 1, SGD.inner_steps, SGD.inner_steps]
    assert_same(plain, some)
    assert_same(plain, all_)


@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize("still", ["lr_images", "lr_targets", "lr_log_lr"])
def test_a_rate_of_zero_leaves_that_thing_untouched(
    config: MatchingConfig,
    still: str,
    distil: Distil,
    tiny_images: Images,
    tiny_targets: Targets,
) -> None:
    result = distil(replace(config, iterations=3, **{still: 0.0}))
    untouched = {
        "lr_images": torch.equal(result.images, tiny_images.normalised(START)),
        "lr_targets": torch.equal(result.targets, tiny_targets.values[START]),
        "lr_log_lr": len(result.history["lr"].unique()) == 1,
    }
    assert untouched == {name: name == still for name in untouched}


def test_sgd_steps_against_the_gradient_with_momentum(
    distil: Distil, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ones(loss: Any, *, images: Tensor, targets: Tensor, **_: Any) -> MatchingGradient:
        return constant_gradient(images, targets)

    monkeypatch.setattr(module, "matching_gradient", ones)
    result = distil(replace(SGD, iterations=3, momentum=0.5, lr_images=0.125))
    # Velocities 1, 1.5, 1.75: together 4.25.
    moved = tiny_images.normalised(START) - result.images
    assert torch.allclose(moved, torch.full_like(moved, 4.25 * 0.125), atol=1e-6)


def test_the_rate_is_learnt_in_its_logarithm_and_stays_positive(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downhill(loss: Any, *, images: Tensor, targets: Tensor, **_: Any) -> MatchingGradient:
        return constant_gradient(images, targets)  # dL/d rate = 1: smaller is better, always

    monkeypatch.setattr(module, "matching_gradient", downhill)
    config = replace(SGD, iterations=4, momentum=0.0, lr_log_lr=5.0, inner_lr=0.5)
    result = distil(config)
    # dL/d log rate = rate * dL/d rate.
    rate, expected = 0.5, []
    for _ in range(4):
        expected.append(rate)
        rate *= math.exp(-5.0 * rate)
    assert result.history["lr"].tolist() == pytest.approx(expected, rel=1e-5)
    assert result.rule.lr == pytest.approx(rate, rel=1e-5)
    assert result.rule.lr > 0


def test_several_experts_a_step_average_their_gradients(
    distil: Distil, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([1.0, 2.0, 6.0])

    def next_gradient(loss: Any, *, images: Tensor, targets: Tensor, **_: Any) -> MatchingGradient:
        value = next(values)
        gradient = constant_gradient(images, targets, value)
        return replace(gradient, images=gradient.images * value)

    monkeypatch.setattr(module, "matching_gradient", next_gradient)
    result = distil(replace(SGD, iterations=1, experts_per_step=3, lr_images=0.5))
    assert result.history["loss"].tolist() == [3.0]
    moved = tiny_images.normalised(START) - result.images
    assert torch.allclose(moved, torch.full_like(moved, 1.5), atol=1e-6)


# Draws


@pytest.fixture
def drawn(
    distil: Distil, tiny_trajectories: Trajectories, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[tuple[int, int, list[list[int]]]]]:
    """Which expert, start epoch and batches each iteration gets."""

    def run(seed: int, iterations: int = 30) -> list[tuple[int, int, list[list[int]]]]:
        seen: list[tuple[int, int, list[list[int]]]] = []

        def record(
            loss: Any,
            *,
            start: Tensor,
            goal: Tensor,
            images: Tensor,
            targets: Tensor,
            batches: list[Tensor],
            **_: Any,
        ) -> MatchingGradient:
            ((k, s),) = (
                (k, s)
                for k in range(len(tiny_trajectories))
                for s in range(tiny_trajectories.epochs + 1)
                if torch.equal(tiny_trajectories.expert(k)[s], start)
            )
            assert torch.equal(tiny_trajectories.expert(k)[s + 2], goal)
            seen.append((k, s, [b.tolist() for b in batches]))
            return constant_gradient(images, targets)

        with monkeypatch.context() as patch:
            patch.setattr(module, "matching_gradient", record)
            distil(replace(SGD, iterations=iterations, lr_log_lr=0.0), seed=seed)
        return seen

    return run


def test_every_iteration_draws_expert_and_start_epoch_afresh(drawn: Any) -> None:
    pairs = {(k, s) for k, s, _ in drawn(seed=0)}
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}  # 2 experts, s in [0, max_start_epoch)


def test_draws_depend_on_the_seed_and_nothing_else(drawn: Any) -> None:
    first = drawn(seed=0)
    torch.manual_seed(123)
    assert drawn(seed=0) == first
    assert drawn(seed=0, iterations=10) == first[:10]
    assert drawn(seed=1) != first


def test_batches_differ_by_iteration(drawn: Any) -> None:
    batches = [batches for _, _, batches in drawn(seed=0, iterations=10)]
    assert all(batches[i] != batches[j] for i in range(10) for j in range(i))


# Resuming


class Interrupted(Exception):
    pass


def interrupt_after(
    calls: int, patch: pytest.MonkeyPatch, by: type[BaseException] = Interrupted
) -> None:
    real = module.matching_gradient
    left = iter(range(calls))

    def once_more(*arguments: Any, **more: Any) -> MatchingGradient:
        if next(left, None) is None:
            raise by
        return real(*arguments, **more)

    patch.setattr(module, "matching_gradient", once_more)


@pytest.mark.parametrize("iterations", [1, 3, 5, 6])
@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
def test_resumed_is_bit_equal_to_unbroken(
    config: MatchingConfig,
    iterations: int,
    distil: Distil,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(iterations, patch)
        distil(config, state=state)
    assert state.exists() or iterations <= config.checkpoint_every
    assert_same(distil(config, state=state), distil(config))


@pytest.mark.parametrize("iterations", [2, 5])
@pytest.mark.parametrize("by", [KeyboardInterrupt, Terminated])
def test_asked_to_stop_it_keeps_all_but_the_last_iteration(
    by: type[BaseException],
    iterations: int,
    distil: Distil,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(by):
        interrupt_after(iterations, patch, by)
        distil(ADAM, state=state)
    saved = checkpoint.load(state)
    assert saved is not None and len(saved[1]["loss"]) == iterations - 1
    assert_same(distil(ADAM, state=state), distil(ADAM))


def test_resumed_twice_with_two_experts_a_step_is_bit_equal(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(ADAM, experts_per_step=2, checkpoint_every=1, inner_lr=0.0)
    state = tmp_path / "state.safetensors"
    for calls in (5, 4):
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            interrupt_after(calls, patch)
            distil(config, state=state)
    torch.manual_seed(99)  # the global generators have no say
    assert_same(distil(config, state=state), distil(config))


def test_a_damaged_checkpoint_starts_afresh(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(4, patch)
        distil(ADAM, state=state)
    state.write_bytes(state.read_bytes()[:-10])
    assert_same(distil(ADAM, state=state), distil(ADAM))


# Non-finite losses


SLOW = replace(SGD, momentum=0.0, lr_images=0.125, lr_log_lr=0.01)


def not_finite_at(
    iteration: int, began: Tensor, what: str = "loss", times: int = 1000
) -> Callable[..., Any]:
    """Gradients of ones for `SLOW`, whose `what` is nan at an iteration, so many times."""
    left = iter(range(times))

    def gradient(loss: Any, *, images: Tensor, targets: Tensor, **_: Any) -> MatchingGradient:
        good = constant_gradient(images, targets)
        steps = round(float((began - images).mean()) / SLOW.lr_images)
        if steps != iteration or next(left, None) is None:
            return good
        return replace(good, **{what: getattr(good, what) * math.nan})

    return gradient


@pytest.mark.parametrize("what", ["loss", "images", "targets", "lr"])
def test_non_finite_stops_with_the_last_good_state(
    what: str, distil: Distil, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = tiny_images.normalised(START)
    monkeypatch.setattr(module, "matching_gradient", not_finite_at(3, began, what))
    result = distil(SLOW)
    # Finite at iterations 0, 1, 2; the third step led astray and is undone: two are left.
    assert len(result.history["loss"]) == 3
    moved = began - result.images
    assert torch.allclose(moved, torch.full_like(moved, 2 * 0.125), atol=1e-6)
    assert result.rule.lr == pytest.approx(float(result.history["lr"][-1]), rel=1e-6)
    assert all(t.isfinite().all() for t in (result.images, result.targets))


@pytest.mark.parametrize("config", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("call", [0, 3, 6])
def test_what_is_not_finite_only_once_leaves_no_trace(
    call: int, config: MatchingConfig, distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, real, calls = distil(config), module.matching_gradient, iter(range(1000))

    def broken_once(*given: Any, **more: Any) -> MatchingGradient:
        found = real(*given, **more)
        return replace(found, images=found.images * math.nan) if next(calls) == call else found

    monkeypatch.setattr(module, "matching_gradient", broken_once)
    assert_same(distil(config), whole)
    assert next(calls) > config.iterations


@pytest.mark.parametrize("slope", [1e30, -1e30], ids=["to zero", "to infinity"])
def test_a_rate_that_leaves_the_numbers_in_the_last_step_is_not_kept(
    slope: float, distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradient(loss: Any, *, images: Tensor, targets: Tensor, **_: Any) -> MatchingGradient:
        good = constant_gradient(images, targets)
        steps = round(float(targets.mean() - first) / -SLOW.lr_targets)
        return replace(good, lr=torch.tensor(slope if steps == 6 else 0.0))

    first = float(distil(replace(SLOW, lr_targets=0.0, iterations=1)).targets.mean())
    monkeypatch.setattr(module, "matching_gradient", gradient)
    result = distil(SLOW)
    assert result.stopped == "iteration 6 of 7"
    assert result.rule.lr == pytest.approx(SLOW.inner_lr, rel=1e-6)


def test_non_finite_at_once_is_an_error(
    distil: Distil, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = tiny_images.normalised(START)
    monkeypatch.setattr(module, "matching_gradient", not_finite_at(0, began))
    with pytest.raises(DecoctError, match=r"first matching loss is not finite.*matching\.inner_lr"):
        distil(SLOW)


def test_an_exploding_inner_loop_is_noticed(distil: Distil) -> None:
    with pytest.raises(DecoctError, match="not finite"):
        distil(replace(SGD, inner_lr=1e20, inner_steps=20))


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("by", [Interrupted, Terminated])
def test_stopping_right_after_a_resume_keeps_what_an_unbroken_run_keeps(
    by: type[BaseException],
    every: int,
    distil: Distil,
    tiny_images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(SGD, momentum=0.0, lr_images=0.25, checkpoint_every=every)
    began = tiny_images.normalised(START)

    def lost_after_three_steps(
        loss: Any, *, images: Tensor, targets: Tensor, **_: Any
    ) -> MatchingGradient:
        steps = round(float((began - images).mean()) / config.lr_images)
        if steps == 3 and next(interruptions, None) is not None:
            raise by
        return constant_gradient(images, targets, math.nan if steps == 3 else 1.0)

    monkeypatch.setattr(module, "matching_gradient", lost_after_three_steps)
    interruptions, state = iter([True]), tmp_path / "state.safetensors"
    with pytest.raises(by):
        distil(config, state=state)
    resumed = distil(config, state=state)
    assert_same(resumed, distil(config))
    assert len(resumed.history["loss"]) == 3


# Experts


def test_experts_in_bfloat16_are_matched_as_what_they_are_in_float32(
    distil: Distil,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path: Path,
) -> None:
    config = replace(tiny_experts_config, count=1, dtype="bfloat16")
    made = train_experts(
        images=tiny_images, targets=tiny_targets, folder=tmp_path / "half", config=config
    )
    tensors, meta = read_expert(made.files[0])
    assert tensors["parameters"].dtype == torch.bfloat16
    tensors["parameters"] = tensors["parameters"].float()
    wide = tmp_path / made.files[0].name
    storage.save_tensors(wide, tensors, kind="expert", meta=meta)
    assert_same(distil(SGD, trajectories=made), distil(SGD, trajectories=Trajectories((wide,))))


# Bad input


@pytest.mark.parametrize("max_start_epoch, expert_epochs", [(2, 3), (3, 2), (1, 4), (4, 1)])
def test_reading_beyond_the_trajectory_is_refused(
    max_start_epoch: int, expert_epochs: int, distil: Distil
) -> None:
    config = replace(SGD, max_start_epoch=max_start_epoch, expert_epochs=expert_epochs)
    with pytest.raises(DecoctError, match="trained for 3"):
        distil(config)


@pytest.mark.parametrize("max_start_epoch, expert_epochs", [(2, 2), (3, 1), (1, 3)])
def test_reading_up_to_the_end_of_the_trajectory_works(
    max_start_epoch: int, expert_epochs: int, distil: Distil
) -> None:
    config = replace(
        SGD,
        max_start_epoch=max_start_epoch,
        expert_epochs=expert_epochs,
        iterations=4,
        inner_steps=1,
    )
    assert len(distil(config).history["loss"]) == 4


def test_a_set_of_nothing_is_refused(distil: Distil) -> None:
    with pytest.raises(DecoctError, match="0 images"):
        distil(SGD, index=torch.zeros(0, dtype=torch.int64))
