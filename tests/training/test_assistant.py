"""The assistant learns what targets say of views, and is the same however often interrupted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.images import Images
from decoct.data.stored_views import show_views
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.assistant import AssistantConfig, train_assistant
from tests.training.interruption import Interrupted, interrupt_in

NETWORK = NetworkConfig(width=4, depth=2)
CONFIG = AssistantConfig(network=NETWORK, epochs=3, batch=16, lr=0.05)


def unit(images: Images) -> Tensor:
    """Pictures in [0, 1], as `label` takes them."""
    return images.pixels[:].float() / 255


def test_it_learns(tiny_images: Images, tiny_targets: Targets) -> None:
    config = replace(CONFIG, epochs=8)
    assistant = train_assistant(images=tiny_images, targets=tiny_targets, config=config)
    losses = assistant.provenance["losses"]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]
    # To say the mean of all targets has an error of 1, their variance.
    labels = assistant.label(unit(tiny_images))
    assert float(F.mse_loss(labels, tiny_targets.values)) < 0.8


def test_a_label_depends_on_its_view_alone(tiny_images: Images, tiny_targets: Targets) -> None:
    config = replace(CONFIG, network=replace(NETWORK, name="convnet-bn"), epochs=1)
    assistant = train_assistant(images=tiny_images, targets=tiny_targets, config=config)
    views = unit(tiny_images)[:5]
    assert torch.allclose(assistant.label(views, batch=1), assistant.label(views), atol=1e-5)


def test_plain_images_are_learnt_as_they_are(tiny_images: Images, tiny_targets: Targets) -> None:
    with seeding.seeded(0, "assistant", "initialisation"):
        network = create_network(NETWORK, channels=3, size=16, outputs=4)
    with torch.no_grad():
        expected = F.mse_loss(network(tiny_images.normalised()), tiny_targets.values)
    config = replace(CONFIG, epochs=1, batch=100, plain=1)
    got = train_assistant(images=tiny_images, targets=tiny_targets, config=config)
    assert got.provenance["losses"] == pytest.approx([float(expected)], rel=1e-4)


@pytest.mark.parametrize("plain", [0.0, 0.5])
def test_as_many_are_plain_as_asked_for_and_no_view_comes_twice(
    plain: float, tiny_images: Images, tiny_targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def spy(images: Tensor, numbers: Tensor) -> Tensor:
        seen.append(numbers)
        return show_views(images, numbers)

    monkeypatch.setattr("decoct.training.assistant.show_views", spy)
    config = replace(CONFIG, epochs=5, plain=plain)
    train_assistant(images=tiny_images, targets=tiny_targets, config=config)
    numbers = torch.cat(seen)
    assert len(numbers) == pytest.approx(200 * (1 - plain), abs=28 * (plain > 0))  # 4 sigma
    assert len(numbers.unique(dim=0)) == len(numbers)  # another epoch has other views


def test_a_batch_without_views_is_learnt_from(tiny_images: Images, tiny_targets: Targets) -> None:
    """The last batch has one image, which is plain as often as not."""
    part = torch.arange(9)
    images, targets = tiny_images.subset(part), tiny_targets.part(part)
    config = replace(CONFIG, epochs=5, batch=8)
    assert train_assistant(images=images, targets=targets, config=config).outputs == 4


@pytest.mark.parametrize("name", ["convnet", "convnet-bn"])
def test_round_trip(name: str, tiny_images: Images, tiny_targets: Targets, tmp_path: Path) -> None:
    config = replace(CONFIG, network=replace(NETWORK, name=name))
    assistant = train_assistant(images=tiny_images, targets=tiny_targets, config=config)
    assistant.save(tmp_path / "a.safetensors")
    again = Assistant.load(tmp_path / "a.safetensors")
    views = unit(tiny_images)
    assert torch.equal(again.label(views), assistant.label(views))
    assert (again.config, again.size, again.outputs) == (config.network, 16, 4)
    assert again.provenance == assistant.provenance


def test_another_artefact_is_refused(tiny_targets: Targets, tmp_path: Path) -> None:
    tiny_targets.save(tmp_path / "t.safetensors")
    with pytest.raises(DecoctError, match="'assistant' is needed here"):
        Assistant.load(tmp_path / "t.safetensors")


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_interrupted_and_resumed_it_is_as_if_unbroken(
    epoch: int,
    tiny_images: Images,
    tiny_targets: Targets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of: dict[str, Any] = {"images": tiny_images, "targets": tiny_targets, "config": CONFIG}
    whole, state = train_assistant(**of), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_in(epoch, patch)
        train_assistant(**of, state=state)
    assert state.exists() == (epoch > 0)
    resumed = train_assistant(**of, state=state, metrics=tmp_path / "m.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(epoch, 3))  # only the rest
    assert resumed.provenance == whole.provenance
    assert torch.equal(resumed.label(unit(tiny_images)), whole.label(unit(tiny_images)))


def test_it_depends_on_the_seed_alone(tiny_images: Images, tiny_targets: Targets) -> None:
    labels = []
    for seed in (0, 0, 1):
        assistant = train_assistant(
            images=tiny_images, targets=tiny_targets, config=replace(CONFIG, epochs=1), seed=seed
        )
        labels.append(assistant.label(unit(tiny_images)))
        torch.manual_seed(77)
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_another_number_of_targets_is_refused(tiny_images: Images, tiny_targets: Targets) -> None:
    with pytest.raises(DecoctError, match="39 targets for 40 images"):
        train_assistant(images=tiny_images, targets=tiny_targets.part(torch.arange(39)))


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"batch": 0}, {"plain": 2.0}, {"plain": -0.1}])
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(DecoctError, match=rf"assistant\.{next(iter(bad))} is .*; it must be"):
        AssistantConfig(**bad)


def test_divergence_is_an_error_that_names_the_setting(
    tiny_images: Images, tiny_targets: Targets
) -> None:
    config = replace(CONFIG, epochs=20, lr=1e6)
    with pytest.raises(DivergedError, match=r"lower assistant\.lr"):
        train_assistant(images=tiny_images, targets=tiny_targets, config=config)
