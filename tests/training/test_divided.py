"""What several processes train together is what one trains: losses, encoders, checkpoints."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core import ranks, seeding
from decoct.core.errors import DecoctError
from decoct.data.augment import AugmentConfig
from decoct.data.images import Images
from decoct.data.stored_views import FreshViews
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.assistant import AssistantConfig, train_assistant
from decoct.training.objective import SSL_LOSSES, Objective
from decoct.training.pretrain import PretrainConfig, pretrain, pretrain_on_all
from decoct.training.ssl_pretrain import pretrain_by_ssl
from decoct.training.teacher import SSLConfig, train_teacher
from tests.processes import Processes

SIZE, COUNT = 8, 33  # the last batch of 16 or 8 has a single image
CONVNET = NetworkConfig(width=4, depth=2)
RESNET = NetworkConfig(name="resnet10-small", width=2)
RULES = {
    "sgd": TrainingRule(lr=0.02, batch=8),
    "adam": TrainingRule(lr=0.003, momentum=0.0, batch=8, optimiser="adam"),
    "muon": TrainingRule(lr=0.02, batch=8, optimiser="muon"),
}
SSL = SSLConfig(network=RESNET, epochs=2, warm_up=1, batch=15, projector=8)
Outcome = tuple[list[float], dict[str, Tensor]]  # losses, and what the network holds


@contextmanager
def in_float64() -> Iterator[None]:
    """Numbers are in float64 inside the block, also where float32 is asked for."""
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "float", Tensor.double)
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def the_images(count: int = COUNT) -> Images:
    draws = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=draws).to(torch.uint8)
    return Images.from_array(pixels)


def the_targets(images: Images) -> Any:
    return fit_targets(images.normalised().flatten(1)[:, :5].tanh(), TargetsConfig())


def the_set(rule: str, **more: Any) -> DistilledSet:
    images = the_images(17)  # batches of 8 and 9
    parts = {"targets": the_targets(images).values, "rule": RULES[rule], "method": "test"} | more
    return DistilledSet(images=images.normalised(), mean=images.mean, std=images.std, **parts)


def the_labeller() -> Assistant:
    images = the_images()
    with seeding.seeded(0, "test"):
        network = create_network(CONVNET, channels=3, size=SIZE, outputs=5)
    return Assistant(network, CONVNET, SIZE, images.mean, images.std, outputs=5)


def teacher(state: Path | None, **more: Any) -> Encoder:
    count = more.pop("count", COUNT)
    return train_teacher(images=the_images(count), config=replace(SSL, **more), state=state)


def assistant(state: Path | None, **more: Any) -> Assistant:
    images, config = the_images(), AssistantConfig(network=CONVNET, epochs=2, batch=16)
    config = replace(config, **more)
    return train_assistant(
        images=images, targets=the_targets(images), config=config, state=state
    )


def on_a_set(state: Path | None, rule: str, network: NetworkConfig, **more: Any) -> Encoder:
    config = PretrainConfig(network=network, epochs=2)
    return pretrain(distilled=the_set(rule, **more), config=config, state=state)


def without_targets(state: Path | None) -> Encoder:
    objective = Objective(algorithm="vicreg", projector=6)
    more = {"targets": torch.zeros(17, 0), "provenance": {"objective": vars(objective)}}
    return on_a_set(state, "adam", CONVNET, **more)


def labelled(state: Path | None) -> Encoder:
    more = {"labeller": the_labeller(), "fresh": FreshViews(plain=0.3)}
    return on_a_set(state, "sgd", RESNET, targets=torch.zeros(17, 0), **more)


def on_all(state: Path | None, *, fresh: bool) -> Encoder:
    images = the_images()
    targets = (the_labeller(), FreshViews(plain=0.3)) if fresh else the_targets(images)
    config = PretrainConfig(network=CONVNET, epochs=2)
    return pretrain_on_all(
        images=images, targets=targets, rule=RULES["muon"], config=config, state=state
    )


def by_ssl(state: Path | None) -> Encoder:
    return pretrain_by_ssl(images=the_images(5), network=RESNET, steps=3, state=state)


Training = tuple[Callable[..., Any], dict[str, Any]]
TRAININGS: dict[str, Training] = {
    **{f"teacher-{name}": (teacher, {"algorithm": name}) for name in SSL_LOSSES},
    "teacher-muon": (teacher, {"optimiser": "muon", "network": CONVNET}),
    "teacher-of-few": (teacher, {"batch": 3, "count": 7}),
    "assistant": (assistant, {}),
    "assistant-sgd": (assistant, {"optimiser": "sgd", "lr": 0.05, "network": CONVNET}),
    **{f"a-set-{name}": (on_a_set, {"rule": name, "network": RESNET}) for name in RULES},
    "a-set-convnet": (on_a_set, {"rule": "muon", "network": CONVNET}),
    "without-targets": (without_targets, {}),
    "labelled": (labelled, {}),
    "all-images": (on_all, {"fresh": False}),
    "all-images-labelled": (on_all, {"fresh": True}),
    "ssl": (by_ssl, {}),
}


def outcome(name: str, state: Path | None = None) -> Outcome:
    make, settings = TRAININGS[name]
    with in_float64():
        made = make(state, **settings)
    return made.provenance["losses"], made.network.state_dict()


def same(found: Outcome, expected: Outcome) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-8)
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", TRAININGS)
def test_several_train_what_one_does(name: str, four_processes: Processes) -> None:
    expected = outcome(name)
    first, *others = four_processes.call(outcome, name)
    same(first, expected)
    for found in others:
        assert found[0] == first[0]
        assert all(torch.equal(found[1][key], value) for key, value in first[1].items())
