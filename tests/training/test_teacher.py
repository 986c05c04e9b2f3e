"""A teacher learns, keeps to its schedule, and continues where it stopped."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from decoct.core.errors import DecoctError, DivergedError
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.training.objective import SSL_LOSSES
from decoct.training.optimiser import lr_factor
from decoct.training.teacher import SSLConfig, train_teacher
from tests.training.interruption import Interrupted, assert_same, interrupt_in

RESNET = NetworkConfig(name="resnet10-small", width=4)
CONVNET = NetworkConfig(width=4, depth=2)
CONFIG = SSLConfig(
    network=RESNET,
    augment=AugmentConfig(min_crop=0.5),
    epochs=4,
    warm_up=1,
    batch=16,
    lr=3e-3,
    projector=16,
)


@pytest.mark.parametrize("algorithm", sorted(SSL_LOSSES))
def test_the_loss_falls(algorithm: str, tiny_images: Images) -> None:
    augment = AugmentConfig(min_crop=0.6, jitter=0.0, grey_probability=0.0)
    config = replace(CONFIG, algorithm=algorithm, augment=augment, epochs=15, batch=20, lr=1e-2)  # type: ignore[arg-type]
    losses = train_teacher(images=tiny_images, config=config).provenance["losses"]
    assert len(losses) == 15
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_muon_learns_as_well_and_is_another_optimiser(tiny_images: Images) -> None:
    augment = AugmentConfig(min_crop=0.6, jitter=0.0, grey_probability=0.0)
    adam = replace(CONFIG, augment=augment, epochs=15, batch=20, lr=1e-2)
    muon = replace(adam, optimiser="muon", lr=0.02)
    by_adam, by_muon = (
        train_teacher(images=tiny_images, config=config).provenance["losses"]
        for config in (adam, muon)
    )
    assert sum(by_muon[-3:]) < 0.9 * sum(by_muon[:3])
    assert by_muon != by_adam


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"algorithm": "simclr", "network": CONVNET},
        {"algorithm": "vicreg", "batch": 40},  # one step an epoch
        {"optimiser": "muon", "lr": 0.02},
    ],
    ids=["barlow_twins", "simclr", "vicreg", "muon"],
)
def test_resumed_is_bit_equal_to_unbroken(
    change: dict[str, Any],
    epochs: int,
    tiny_images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, state = replace(CONFIG, **change), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_in(epochs, patch)
        train_teacher(images=tiny_images, config=config, state=state)
    torch.manual_seed(31)  # the global generator has no say
    resumed = train_teacher(images=tiny_images, config=config, state=state)
    assert_same(resumed, train_teacher(images=tiny_images, config=config))


def test_a_damaged_checkpoint_starts_afresh(
    tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_in(2, patch)
        train_teacher(images=tiny_images, config=CONFIG, state=state)
    state.write_bytes(state.read_bytes()[:-5])
    resumed = train_teacher(images=tiny_images, config=CONFIG, state=state)
    assert_same(resumed, train_teacher(images=tiny_images, config=CONFIG))


def test_training_depends_on_the_seed(tiny_images: Images) -> None:
    config = replace(CONFIG, epochs=1)
    first, second = (
        train_teacher(images=tiny_images, config=config, seed=seed).provenance["losses"]
        for seed in (0, 1)
    )
    assert first != second


def test_what_comes_out_is_an_encoder_of_its_images(tiny_images: Images) -> None:
    teacher = train_teacher(images=tiny_images, config=replace(CONFIG, epochs=1))
    assert not teacher.network.training
    assert (teacher.size, teacher.channels, teacher.config) == (16, 3, RESNET)
    assert torch.equal(teacher.mean, tiny_images.mean)
    assert torch.equal(teacher.std, tiny_images.std)
    assert teacher.embed(tiny_images, device="cpu").shape == (40, 8 * 4)  # the projector is gone


def test_grey_images_are_learnt_as_well(tiny_images: Images) -> None:
    grey = Images.from_array(tiny_images.pixels[:, :1])
    teacher = train_teacher(images=grey, config=replace(CONFIG, epochs=1))
    assert teacher.channels == 1


def test_the_loss_curve_is_written_as_it_goes(tiny_images: Images, tmp_path: Path) -> None:
    teacher = train_teacher(images=tiny_images, config=CONFIG, metrics=tmp_path / "m.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert [line["loss"] for line in lines] == teacher.provenance["losses"]


def test_a_batch_above_the_number_of_images_takes_all(tiny_images: Images) -> None:
    teacher = train_teacher(images=tiny_images, config=replace(CONFIG, epochs=1, batch=512))
    assert len(teacher.provenance["losses"]) == 1


def test_a_loss_that_is_not_finite_is_an_error(
    tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(a: Tensor, b: Tensor) -> Tensor:
        return (a + b).sum() * math.nan

    monkeypatch.setitem(SSL_LOSSES, CONFIG.algorithm, nan)
    with pytest.raises(DivergedError, match=r"diverged in epoch 0; lower its lr"):
        train_teacher(images=tiny_images, config=CONFIG)


def test_a_single_image_is_refused(tiny_images: Images) -> None:
    with pytest.raises(DecoctError, match="single image"):
        train_teacher(images=tiny_images.subset(torch.tensor([0])), config=CONFIG)


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"epochs": 0}, r"teacher\.ssl\.epochs is 0; it must be at least 1"),
        ({"batch": 1}, r"teacher\.ssl\.batch is 1; it must be at least 2"),
        ({"algorithm": "byol"}, r"teacher\.ssl\.algorithm is 'byol'; it must be barlow_twins or"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(DecoctError, match=message):
        SSLConfig(**bad)


# The schedule


def cosine(epoch: float, warm_up: int, epochs: float) -> float:
    """The share of the full rate that a teacher has at an epoch."""
    return lr_factor(replace(CONFIG, warm_up=warm_up).rule, epoch, epochs)


@given(epoch=st.floats(0, 20), warm_up=st.integers(1, 10), rest=st.integers(1, 10))
def test_rates_are_shares_that_rise_to_the_warm_ups_end_and_fall_after(
    epoch: float, warm_up: int, rest: int
) -> None:
    value, later = (cosine(e, warm_up, warm_up + rest) for e in (epoch, epoch + 0.01))
    assert 0 <= value <= 1
    assert value <= later if epoch + 0.01 < warm_up else warm_up > epoch or value >= later


def test_warm_up_is_linear_and_ends_at_the_full_rate() -> None:
    values = [cosine(e, 4, 20) for e in range(5)]
    steps = [b - a for a, b in pairwise(values)]
    assert values[0] > 0
    assert steps == pytest.approx([steps[0]] * 4, rel=1e-12)
    assert values[4] == 1


def test_after_it_comes_half_a_cosine() -> None:
    # From epoch 4 to 20: 1, cos^2(pi / 8), 1/2, sin^2(pi / 8), 0.
    values = [cosine(e, 4, 20) for e in (4, 8, 12, 16, 20)]
    eighth = math.cos(math.pi / 8) ** 2
    assert values == pytest.approx([1, eighth, 0.5, 1 - eighth, 0], abs=1e-12)


def test_no_warm_up_starts_at_the_full_rate() -> None:
    assert cosine(0, 0, 10) == 1
    assert cosine(10, 10, 10) == 1  # nothing left to fall over


def test_the_optimiser_follows_the_schedule_also_after_a_resume(
    tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real: Callable[..., Any] = torch.optim.Adam.step

    def record(self: torch.optim.Adam, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_in(2, patch)
        train_teacher(images=tiny_images, config=CONFIG, state=state)
    train_teacher(images=tiny_images, config=CONFIG, state=state)
    # Two steps an epoch (40 images in batches of 16, the rest waits), four epochs.
    expected = [3e-3 * cosine(step / 2, 1, 4) for step in range(8)]
    # The third epoch was interrupted before its checkpoint, and is gone through again.
    assert rates == pytest.approx(expected[:6] + expected[4:], rel=1e-9)
