"""The doctor's report."""

import itertools
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from decoct.artefacts.targets import TargetsConfig
from decoct.evaluation.probe import ProbeConfig
from decoct.matching.loop import MatchingConfig
from decoct.methods.units import Unit
from decoct.models.registry import NetworkConfig
from decoct.run.doctor import doctor, duration_text
from decoct.run.recipe import CompareConfig, Recipe
from decoct.training.expert import ExpertsConfig
from decoct.training.pretrain import PretrainConfig

SMALL = NetworkConfig(width=4)
TINY = Recipe(
    name="tiny",
    device="cpu",
    targets=TargetsConfig(components=8),
    experts=ExpertsConfig(count=2, epochs=2, batch=16, network=SMALL),
    matching=MatchingConfig(iterations=3, inner_steps=2, expert_epochs=1, batch=16),
    pretrain=PretrainConfig(epochs=1, network=SMALL),
    probe=ProbeConfig(fractions=(0.05,), per_class=(2,)),
    compare=CompareConfig(seeds=2, tasks=("emoji", "hf:nobody/knows"), full_epochs=1),
)
STAGES = (
    "targets",
    "experts",
    "difficulty",
    "assistant",
    "k-means",
    "distilling (mkdt)",
    "pre-training",
    "probing",
)


def lines_of(text: str, title: str) -> dict[str, str]:
    """The lines below a title in the recipe's part of the report: text by name."""
    rest = text[text.index("\nrecipe ") :].split(f"\n  {title}\n")[1].split("\n")
    lines = (line for line in itertools.takewhile(lambda line: line.startswith("    "), rest))
    pairs = (line.strip().partition("  ") for line in lines)
    return {name: said.strip() for name, _, said in pairs}


def test_without_a_recipe(tmp_path: Path) -> None:
    text = doctor(folder=tmp_path / "not" / "yet")
    for line in ("decoct", "torch", "kornia", "cpu", "malloc thresholds", "free"):
        assert line in text
    assert torch.__version__ in text


def test_extras_say_what_is_wrong_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    text = doctor()
    assert "pip install 'decoct[timm]'" in text
    for extra in ("torchvision", "hf"):
        assert f"pip install 'decoct[{extra}]'" not in text


def test_with_a_recipe(tmp_path: Path) -> None:
    text = doctor(TINY, folder=tmp_path)
    assert "2,641 images of 3 x 32 x 32" in text
    assert "emoji 2,641 + 846, hf:nobody/knows of unknown size" in text
    assert lines_of(text, "disk")["experts"] == lines_of(text, "memory, about")["trajectories"]
    assert lines_of(text, "disk")["experts"] == "22.8 kB"
    assert "TOO LITTLE" not in text
    times = lines_of(text, "time, estimated from a few seconds of measuring")
    assert set(times) - {"busy"} == {*STAGES, "together"}


def test_a_recipe_that_trains_no_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    monkeypatch.setattr(Unit, "seconds", lambda self, bench: 1.0)
    recipe = TINY.set("compare.methods", ("views", "random"))
    text = doctor(recipe, folder=tmp_path)
    assert lines_of(text, "disk") == {"needed": "little: no experts are trained"}
    assert set(lines_of(text, "memory, about")) == {"pool", "targets", "together"}
    assert "TOO LITTLE" not in text and "experts.count" not in text
    text = doctor(recipe.set("compare.methods", ("mkdt",)), folder=tmp_path)
    assert "lower experts.count" in lines_of(text, "disk")["TOO LITTLE"]


def test_an_unknown_pool_is_said() -> None:
    text = doctor(TINY.set("images.source", "hf:someone/else"))
    assert "the number of images in hf:someone/else is unknown" in text


@pytest.mark.parametrize("seconds", [0, 119, 121, 7199, 7201, 1e5, 1e7])
def test_durations_are_short(seconds: float) -> None:
    assert len(duration_text(seconds)) < 12
