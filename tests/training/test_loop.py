"""The training loop keeps to its schedule and continues where it stopped, bit-identically."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.core import checkpoint, seeding
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.training import loop
from decoct.training.loop import Length, train
from decoct.training.objective import SSL_LOSSES, Objective
from decoct.training.optimiser import Optimiser, lr_factor
from decoct.training.pretrain import PretrainConfig, pretrain, pretrain_on_all
from tests.training.interruption import Interrupted, assert_same, interrupt_in

SGD = TrainingRule(lr=0.05, momentum=0.9, weight_decay=1e-3, batch=4)
ADAM = TrainingRule(lr=0.01, momentum=0.0, weight_decay=1e-3, batch=4, optimiser="adam")
MUON = TrainingRule(lr=0.05, batch=4, optimiser="muon", schedule="linear")
SCHEDULES = ("constant", "linear", "cosine")
Trained = tuple[dict[str, Tensor], list[float]]  # the network, and the losses
LENGTH = Length(steps=11, steps_per_epoch=4)  # the third epoch has three steps
EXAMPLES = torch.randn(16, 3, generator=torch.Generator().manual_seed(5))


# Schedules


def by_formula(schedule: str, step: int, *, warm_up: int, length: Length) -> float:
    """The share of the full rate at a step, as the documentation of schedules has it."""
    epoch, epochs = step / length.steps_per_epoch, length.steps / length.steps_per_epoch
    if epoch < warm_up:
        return (epoch + 0.1) / (warm_up + 0.1)
    share = (epoch - warm_up) / (epochs - warm_up)
    return {
        "constant": 1.0,
        "linear": 1 - share,
        "cosine": (1 + math.cos(math.pi * share)) / 2,
    }[schedule]


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(
    per_epoch=st.integers(1, 7),
    epochs=st.integers(1, 6),
    short=st.integers(0, 6),
    warm_up=st.integers(0, 4),
)
def test_rates_are_those_of_the_formula(
    schedule: Any, per_epoch: int, epochs: int, short: int, warm_up: int
) -> None:
    length = Length(per_epoch * epochs - min(short, per_epoch - 1), per_epoch)
    rule = replace(SGD, schedule=schedule, warm_up=warm_up)
    weight = nn.Parameter(torch.zeros(1))
    optimiser = Optimiser(
        rule, [weight], steps=length.steps, steps_per_epoch=length.steps_per_epoch
    )
    for step in range(length.steps):
        expected = rule.lr * by_formula(schedule, step, warm_up=warm_up, length=length)
        (part,) = optimiser.parts
        assert part.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12, abs=1e-15)
        optimiser.step(weight.sum())


def test_a_constant_rate_is_the_rules_to_the_bit() -> None:
    assert {lr_factor(SGD, epoch / 3, 5.0) for epoch in range(16)} == {1.0}


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_what_falls_falls_to_0_at_the_end_and_no_further(schedule: Any) -> None:
    rule = replace(SGD, schedule=schedule, warm_up=2)
    assert lr_factor(rule, 2.0, 8.0) == 1
    assert lr_factor(rule, 5.0, 8.0) == pytest.approx(0.5, rel=1e-12)
    assert lr_factor(rule, 8.0, 8.0) == lr_factor(rule, 9.0, 8.0) == pytest.approx(0, abs=1e-15)


def test_a_warm_up_is_linear_and_begins_above_0() -> None:
    rule = replace(SGD, warm_up=4)
    values = [lr_factor(rule, epoch / 2, 10.0) for epoch in range(9)]
    assert values == pytest.approx([(epoch / 2 + 0.1) / 4.1 for epoch in range(9)], rel=1e-12)
    assert values[0] > 0 and values[-1] == 1


# Training


def fresh() -> nn.Sequential:
    """A network with running statistics, and with dropout: it draws at each step."""
    with seeding.seeded(0, "test"):
        return nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1)
        )


def losses_of(
    *,
    length: Length = LENGTH,
    raise_in: tuple[int, int] | None = None,
    seen: list[tuple[int, int]] | None = None,
) -> loop.Losses:
    """Means of batches of four; in one epoch and step it may raise before its loss is there."""

    def loss(network: nn.Module, x: Tensor) -> Tensor:
        return F.mse_loss(network(x), x.sum(1, keepdim=True))

    def losses(network: nn.Module, epoch: int) -> Iterator[loop.Step]:
        with seeding.seeded(1, "test", epoch):
            order = torch.randperm(len(EXAMPLES)).split(4)
            for step in range(length.steps_of(epoch)):
                if (epoch, step) == raise_in:
                    raise Interrupted
                if seen is not None:
                    seen.append((epoch, step))
                yield partial(loss, network, EXAMPLES[order[step]]), 4

    return losses


def run(
    rule: TrainingRule, *, length: Length = LENGTH, of: nn.Module | None = None, **more: Any
) -> Trained:
    """What training makes: the network's tensors, and the losses."""
    network = of or fresh()
    places = {name: more.pop(name, None) for name in ("state", "metrics")}
    means = train(
        network,
        losses_of(length=length, **more),
        rule=rule,
        length=length,
        label="test",
        on_divergence="diverged in epoch {epoch}",
        **places,
    )
    return network.state_dict(), means


def same(a: Trained, b: Trained) -> None:
    assert a[0].keys() == b[0].keys()
    assert all(torch.equal(a[0][name], b[0][name]) for name in a[0])
    assert a[1] == b[1]


RULES = {
    "sgd": SGD,
    "sgd-cosine": replace(SGD, schedule="cosine", warm_up=1),
    "adam": ADAM,
    "adam-linear": replace(ADAM, schedule="linear"),
    "adamw": replace(ADAM, optimiser="adamw"),
    "muon": MUON,
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("moment", [(0, 0), (0, 3), (1, 0), (1, 2), (2, 0), (2, 2)])
def test_interrupted_inside_an_epoch_it_resumes_to_the_same_bits(
    rule: TrainingRule, moment: tuple[int, int], tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        run(rule, state=state, raise_in=moment)
    assert state.exists() == (moment[0] > 0)
    torch.manual_seed(99)  # the global generator has no say
    seen: list[tuple[int, int]] = []
    same(run(rule, state=state, seen=seen), run(rule))
    assert seen == [
        (epoch, step) for epoch in range(moment[0], 3) for step in range(LENGTH.steps_of(epoch))
    ]


@pytest.mark.parametrize("rule", [SGD, ADAM, MUON], ids=["sgd", "adam", "muon"])
def test_interrupted_in_every_epoch_it_resumes_to_the_same_bits(
    rule: TrainingRule, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    for moment in ((0, 1), (1, 1), (1, 3), (2, 1)):
        with pytest.raises(Interrupted):
            run(rule, state=state, raise_in=moment)
    same(run(rule, state=state), run(rule))


@pytest.mark.parametrize("rule", [SGD, ADAM, MUON], ids=["sgd", "adam", "muon"])
def test_without_its_moments_the_rest_would_be_another(rule: TrainingRule, tmp_path: Path) -> None:
    """So that the tests above say something: a checkpoint holds what the rest depends on."""
    state = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        run(rule, state=state, raise_in=(1, 2))
    saved = checkpoint.load(state)
    assert saved is not None
    tensors, meta = saved
    moments = {name for name in tensors if name.startswith("optimiser.")}
    assert moments
    checkpoint.save(state, {k: v for k, v in tensors.items() if k not in moments}, meta=meta)
    resumed, whole = run(rule, state=state), run(rule)
    assert not all(torch.equal(resumed[0][name], whole[0][name]) for name in whole[0])


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    whole = run(SGD, state=state)
    seen: list[tuple[int, int]] = []
    same(run(SGD, state=state, seen=seen), whole)
    assert seen == []


def test_a_damaged_checkpoint_starts_afresh(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(Interrupted):
        run(SGD, state=state, raise_in=(2, 0))
    state.write_bytes(state.read_bytes()[:-3])
    same(run(SGD, state=state), run(SGD))


def test_metrics_go_on_where_they_stopped(tmp_path: Path) -> None:
    places: dict[str, Any] = {
        "state": tmp_path / "state.safetensors",
        "metrics": tmp_path / "metrics.jsonl",
    }
    with pytest.raises(Interrupted):
        run(SGD, raise_in=(1, 1), **places)
    _, means = run(SGD, **places)
    lines = [json.loads(line) for line in places["metrics"].read_text().splitlines()]
    assert [(line["epoch"], line["loss"]) for line in lines] == list(enumerate(means))


def test_a_short_epoch_is_not_worth_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 3600.0)
    whole = run(SGD, state=tmp_path / "state.safetensors")
    assert not (tmp_path / "state.safetensors").exists()
    same(run(SGD), whole)


def test_the_loss_of_an_epoch_is_the_mean_over_its_images() -> None:
    network = nn.Linear(1, 1)
    values = [(1.0, 3), (5.0, 1), (2.0, 4)]

    def losses(network: nn.Module, epoch: int) -> Iterator[loop.Step]:
        for value, weight in values:
            yield partial(lambda value: 0 * network.weight.sum() + value, value), weight

    means = train(network, losses, rule=SGD, length=Length(6, 3), label="test", on_divergence="")
    assert means == pytest.approx([2.0, 2.0], rel=1e-6)


def test_training_is_in_training_mode() -> None:
    network = fresh().eval()
    run(SGD, of=network)
    assert network.training


@given(steps=st.integers(1, 60), per_epoch=st.integers(1, 12))
def test_epochs_have_all_steps_and_the_last_alone_may_be_short(steps: int, per_epoch: int) -> None:
    length = Length(steps, per_epoch)
    found = [length.steps_of(epoch) for epoch in range(length.epochs)]
    assert sum(found) == steps
    assert set(found[:-1]) <= {per_epoch} and 1 <= found[-1] <= per_epoch


def test_cut_short_it_is_the_first_steps_of_a_longer_training() -> None:
    at_11: dict[str, Tensor] = {}
    network, longer = fresh(), Length(16, 4)

    def losses(network: nn.Module, epoch: int) -> Iterator[loop.Step]:
        for step, found in enumerate(losses_of(length=longer)(network, epoch)):
            if (epoch, step) == (2, 3):  # eleven steps are taken
                at_11.update({n: p.detach().clone() for n, p in network.named_parameters()})
            yield found

    train(network, losses, rule=SGD, length=longer, label="test", on_divergence="")
    short, _ = run(SGD, length=LENGTH)
    assert at_11 and all(torch.equal(short[name], value) for name, value in at_11.items())


# Pre-training keeps a checkpoint


CONVNET = NetworkConfig(width=4, depth=2)
RESNET = NetworkConfig(name="resnet10-small", width=4)
Train = Callable[..., Encoder]


def a_set(images: Images, targets: Targets, rule: TrainingRule) -> DistilledSet:
    index = torch.arange(12)
    return DistilledSet(
        images=images.normalised(index),
        targets=targets.values[index],
        mean=images.mean,
        std=images.std,
        rule=rule,
        method="test",
    )


def interrupt_at(call: int, patch: pytest.MonkeyPatch) -> None:
    """Raise in the loss of this step, counted from 0 on."""
    real, left = F.mse_loss, iter(range(call))

    def one_more(*arguments: Any, **more: Any) -> Tensor:
        if next(left, None) is None:
            raise Interrupted
        return real(*arguments, **more)

    patch.setattr(F, "mse_loss", one_more)


@pytest.fixture(params=["a set", "all images"])
def training(request: pytest.FixtureRequest, tiny_images: Images, tiny_targets: Targets) -> Train:
    """Pre-training of three epochs of three steps each: 12 images of a set, or all of 12."""
    part = torch.arange(12)
    images, targets = tiny_images.subset(part), tiny_targets.part(part)

    def on_a_set(rule: TrainingRule, **more: Any) -> Encoder:
        return pretrain(distilled=a_set(images, targets, rule), **more)

    def on_all(rule: TrainingRule, **more: Any) -> Encoder:
        return pretrain_on_all(images=images, targets=targets, rule=rule, **more)

    return on_a_set if request.param == "a set" else on_all


@pytest.mark.parametrize("network", [CONVNET, RESNET], ids=["convnet", "resnet"])
@pytest.mark.parametrize("rule", [SGD, ADAM, MUON], ids=["sgd", "adam", "muon"])
@pytest.mark.parametrize("call", [1, 3, 5, 8])  # of nine steps: in every epoch
def test_pre_training_goes_on_from_its_checkpoint_to_the_same_bits(
    call: int,
    rule: TrainingRule,
    network: NetworkConfig,
    training: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, state = PretrainConfig(network=network, epochs=3), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_at(call, patch)
        training(rule, config=config, state=state)
    assert state.exists() == (call >= 3)
    torch.manual_seed(31)
    left = 9 - call // 3 * 3  # whole epochs are not gone through again
    with monkeypatch.context() as patch:
        interrupt_at(left, patch)  # one step more would raise
        resumed = training(rule, config=config, state=state)
    assert_same(resumed, training(rule, config=config))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_pre_training_killed_before_a_checkpoint_loses_an_epoch_and_no_more(
    epoch: int, training: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = PretrainConfig(network=CONVNET, epochs=3), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_in(epoch, patch)
        training(SGD, config=config, state=state)
    saved = checkpoint.load(state)
    assert (len(saved[1]["losses"]) if saved else 0) == epoch
    assert_same(training(SGD, config=config, state=state), training(SGD, config=config))


def test_pre_training_without_targets_goes_on_too(
    tiny_images: Images, tiny_targets: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Objective(algorithm="simclr", projector=8)
    distilled = replace(
        a_set(tiny_images, tiny_targets, SGD),
        targets=torch.zeros(12, 0),
        provenance={"objective": asdict(objective)},
    )
    config, state = PretrainConfig(network=CONVNET, epochs=3), tmp_path / "state.safetensors"
    real, left = SSL_LOSSES["simclr"], iter(range(4))

    def interrupted(a: Tensor, b: Tensor) -> Tensor:
        if next(left, None) is None:
            raise Interrupted
        return real(a, b)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setitem(SSL_LOSSES, "simclr", interrupted)
        pretrain(distilled=distilled, config=config, state=state)
    assert state.exists()
    torch.manual_seed(31)
    resumed = pretrain(distilled=distilled, config=config, state=state)
    assert_same(resumed, pretrain(distilled=distilled, config=config))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_all_images_for_so_many_steps_resume_in_the_short_epoch(
    rule: TrainingRule,
    tiny_images: Images,
    tiny_targets: Targets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = PretrainConfig(network=CONVNET, epochs=50)  # has no effect if steps are given
    of: dict[str, Any] = {"images": tiny_images, "targets": tiny_targets, "config": config}
    of |= {"rule": replace(rule, batch=16), "steps": 5}  # three an epoch: the second has two
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_at(4, patch)
        pretrain_on_all(**of, state=state)
    resumed, whole = pretrain_on_all(**of, state=state), pretrain_on_all(**of)
    assert_same(resumed, whole)
    assert len(whole.provenance["losses"]) == 2


@pytest.mark.parametrize("steps", [1, 3, 4, 6])  # of three an epoch
def test_all_images_for_so_many_steps_take_so_many(
    steps: int, tiny_images: Images, tiny_targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real: Callable[..., Any] = torch.optim.SGD.step

    def record(self: torch.optim.SGD, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", record)
    rule = replace(SGD, batch=16, schedule="linear")
    encoder = pretrain_on_all(
        images=tiny_images,
        targets=tiny_targets,
        rule=rule,
        config=PretrainConfig(network=CONVNET),
        steps=steps,
    )
    assert len(encoder.provenance["losses"]) == math.ceil(steps / 3)
    # The schedule's end is the last step's, not that of the epoch that it cuts short.
    assert rates == pytest.approx([0.05 * (1 - step / steps) for step in range(steps)], rel=1e-9)
