"""Files of format version 1 are read, under the names of today, and mean what they meant."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.augment import AugmentConfig
from decoct.models.registry import NetworkConfig, create_network
from decoct.training.objective import Objective
from decoct.training.pretrain import PretrainConfig, pretrain

REAL = Path(__file__).parents[1] / "report" / "files" / "demo-mkdt.safetensors"
NETWORK = NetworkConfig(width=4, depth=2)
STORY = {"seed": 3, "images": "tiny"}


@pytest.fixture
def version_1(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """While it is in force, files are written as of version 1; undo it to read them."""
    monkeypatch.setattr(storage, "FORMAT_VERSION", 1)
    return monkeypatch


def raw(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a file holds, whatever we make of it: its tensors, and its header."""
    with safetensors.safe_open(path, framework="pt") as file:
        header: dict[str, Any] = json.loads(file.metadata()["decoct"])
    return safetensors.torch.load_file(path), header


def a_set(**changes: Any) -> DistilledSet:
    """A small one of real pixels, with all that a file may hold."""
    draws = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    pixels = torch.randint(256, (2, 6, 3, 8, 8), generator=draws) / 255
    images, initial = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    whole = DistilledSet(
        images=images,
        targets=torch.randn(6, 4, generator=draws),
        mean=mean,
        std=std,
        rule=TrainingRule(lr=0.1, momentum=0.9, weight_decay=0.0, batch=3),
        method="mkdt",
        initial=initial,
        index=torch.arange(6),
        network=NETWORK,
        history={"loss": torch.tensor([2.0, 1.0]), "lr": torch.tensor([0.1, 0.2])},
        provenance=STORY,
    )
    return replace(whole, **changes)


def save_as_version_1(path: Path, a: DistilledSet, *, uint8: bool = False) -> None:
    """As the decoct wrote it that had version 1: by way of today's file, under the old names."""
    a.save(path, uint8=uint8)
    tensors, header = raw(path)
    old = {"initial": "start", "history.lr": "history.rate"}
    old |= {f"initial.{part}": f"start.{part}" for part in ("uint8", "range")}
    meta = dict(header["meta"])
    story = meta.pop("provenance")
    if "objective" in story:
        objective = dict(story["objective"])
        story = {**story, "objective": {"views": objective.pop("augment"), **objective}}
    named = {old.get(name, name): tensor for name, tensor in tensors.items()}
    storage.save_tensors(path, named, kind="distilled", meta={**meta, "story": story})


def assert_same_set(a: DistilledSet, b: DistilledSet) -> None:
    for name in ("images", "targets", "mean", "std", "index", "initial"):
        first, second = getattr(a, name), getattr(b, name)
        assert (first is None) == (second is None), name
        assert first is None or torch.equal(first, second), name
    assert a.history.keys() == b.history.keys()
    assert all(torch.equal(a.history[name], b.history[name]) for name in a.history)
    names = ("rule", "method", "network", "provenance")
    assert all(getattr(a, name) == getattr(b, name) for name in names)


def test_a_real_file_of_version_1_is_read_under_todays_names() -> None:
    tensors, header = raw(REAL)
    assert header["version"] == 1
    assert {"start", "history.rate"} <= set(tensors) and "story" in header["meta"]
    found = load_distilled(REAL)
    assert found.initial is not None and torch.equal(found.initial, tensors["start"])
    assert set(found.history) == {"loss", "lr"}
    assert torch.equal(found.history["lr"], tensors["history.rate"])
    assert torch.equal(found.history["loss"], tensors["history.loss"])
    assert found.provenance == header["meta"]["story"]
    assert found.rule == TrainingRule(
        lr=0.13374671667770263, momentum=0.9, weight_decay=0.0, batch=66
    )
    assert found.method == "mkdt" and found.network == NetworkConfig(width=32)
    pixels = found.initial_pixels()
    assert pixels is not None and pixels.shape == (132, 3, 32, 32)


def test_written_again_it_is_of_this_version_and_the_same(tmp_path: Path) -> None:
    found = load_distilled(REAL)
    found.save(tmp_path / "again.safetensors")
    tensors, header = raw(tmp_path / "again.safetensors")
    assert header["version"] == storage.FORMAT_VERSION
    assert {"initial", "history.lr"} <= set(tensors) and "provenance" in header["meta"]
    assert {"start", "history.rate"}.isdisjoint(tensors) and "story" not in header["meta"]
    assert_same_set(load_distilled(tmp_path / "again.safetensors"), found)


@pytest.mark.parametrize("uint8", [False, True])
def test_a_distilled_set(uint8: bool, tmp_path: Path, version_1: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.safetensors"
    save_as_version_1(path, a_set(), uint8=uint8)
    version_1.undo()
    tensors, header = raw(path)
    starts = {"start.uint8", "start.range"} if uint8 else {"start"}
    assert header["version"] == 1 and "story" in header["meta"]
    assert {name for name in tensors if name.startswith("start")} == starts
    assert "history.rate" in tensors
    a_set().save(tmp_path / "today.safetensors", uint8=uint8)
    assert_same_set(load_distilled(path), load_distilled(tmp_path / "today.safetensors"))


def test_a_subset_that_began_from_nothing(tmp_path: Path, version_1: pytest.MonkeyPatch) -> None:
    subset = a_set(initial=None, history={}, method="random")
    save_as_version_1(tmp_path / "d.safetensors", subset)
    version_1.undo()
    assert_same_set(load_distilled(tmp_path / "d.safetensors"), subset)


def test_a_set_without_targets_keeps_the_objective_that_it_was_made_for(
    tmp_path: Path, version_1: pytest.MonkeyPatch
) -> None:
    augment = AugmentConfig(min_crop=0.9, flip=False, jitter=0.0, grey_probability=0.0)
    objective = Objective(algorithm="simclr", augment=augment, projector=8)
    made = a_set(
        targets=torch.zeros(6, 0),
        method="mtt-ssl",
        provenance={**STORY, "objective": asdict(objective)},
    )
    save_as_version_1(tmp_path / "d.safetensors", made)
    version_1.undo()
    assert "views" in raw(tmp_path / "d.safetensors")[1]["meta"]["story"]["objective"]
    found = load_distilled(tmp_path / "d.safetensors")
    assert_same_set(found, made)
    config = PretrainConfig(network=NETWORK, epochs=1)
    one, other = (pretrain(distilled=d, config=config) for d in (found, made))
    assert one.provenance["losses"] == other.provenance["losses"]


def old_names(path: Path, kind: str) -> None:
    """Give a file that was just written the names of version 1."""
    tensors, header = raw(path)
    meta = dict(header["meta"])
    meta["story"] = meta.pop("provenance")
    storage.save_tensors(path, tensors, kind=kind, meta=meta)


@pytest.mark.parametrize("name", ["convnet", "convnet-bn"])
def test_an_encoder(name: str, tmp_path: Path, version_1: pytest.MonkeyPatch) -> None:
    config = replace(NETWORK, name=name)
    network = create_network(config, channels=3, size=8, outputs=1).eval()
    network.remove_head()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.3, 0.2, 0.1])
    encoder = Encoder(network=network, config=config, size=8, mean=mean, std=std, provenance=STORY)
    encoder.save(tmp_path / "e.safetensors")
    old_names(tmp_path / "e.safetensors", "encoder")
    version_1.undo()
    assert raw(tmp_path / "e.safetensors")[1]["version"] == 1
    found = Encoder.load(tmp_path / "e.safetensors")
    assert (found.config, found.size, found.provenance) == (config, 8, STORY)
    assert torch.equal(found.mean, mean) and torch.equal(found.std, std)
    views = torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(found.network.features(views), network.features(views))


def test_an_assistant(tmp_path: Path, version_1: pytest.MonkeyPatch) -> None:
    network = create_network(NETWORK, channels=3, size=8, outputs=4).eval()
    assistant = Assistant(
        network=network,
        config=NETWORK,
        size=8,
        mean=torch.full((3,), 0.4),
        std=torch.full((3,), 0.2),
        outputs=4,
        provenance=STORY,
    )
    assistant.save(tmp_path / "a.safetensors")
    old_names(tmp_path / "a.safetensors", "assistant")
    version_1.undo()
    assert raw(tmp_path / "a.safetensors")[1]["version"] == 1
    found = Assistant.load(tmp_path / "a.safetensors")
    assert (found.config, found.size, found.outputs, found.provenance) == (NETWORK, 8, 4, STORY)
    views = torch.rand(5, 3, 8, 8)
    assert torch.equal(found.label(views), assistant.label(views))


def test_a_harmed_file_of_version_1_is_refused_too(tmp_path: Path) -> None:
    data = bytearray(REAL.read_bytes())
    data[-1] ^= 16
    (tmp_path / "d.safetensors").write_bytes(data)
    with pytest.raises(DecoctError, match="damaged"):
        load_distilled(tmp_path / "d.safetensors")


@pytest.mark.parametrize("version", [0, 4, "1", None])
def test_versions_that_never_were_are_refused(
    version: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FORMAT_VERSION", version)
        a_set().save(tmp_path / "d.safetensors")
    with pytest.raises(DecoctError, match=f"format version {version}; this decoct reads"):
        load_distilled(tmp_path / "d.safetensors")
