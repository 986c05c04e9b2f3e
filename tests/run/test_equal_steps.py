"""full-steps and ssl-full-steps: all images, for as many gradient steps as a small set."""

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.data.images import Images
from decoct.methods.registry import METHODS
from decoct.methods.sizes import Sizes
from decoct.methods.ssl_random import SSLRandom
from decoct.methods.units import Unit
from decoct.models.registry import NetworkConfig
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.recipe import CompareConfig, Recipe
from decoct.run.sizes import measure_sizes
from decoct.run.timing import stage_seconds
from decoct.training.pretrain import PretrainConfig, pretrain_on_all, steps_an_epoch

CONFIG = PretrainConfig(network=NetworkConfig(width=4, depth=2), epochs=2)
RULE = TrainingRule(lr=0.05, momentum=0.9, weight_decay=1e-4, batch=16)  # three batches of 40
ON_ALL = tuple(name for name, kind in METHODS.items() if kind.whole_pool)
EQUAL_STEPS = tuple(name for name, kind in METHODS.items() if kind.as_many_steps_as)
SSL_METHODS = tuple(name for name, kind in METHODS.items() if issubclass(kind, SSLRandom))


def sizes_of(recipe: Recipe) -> Sizes:
    found = measure_sizes(recipe)
    assert found is not None
    return found


def steps_of(recipe: Recipe, method: str) -> int:
    return recipe.configured(method).steps(sizes_of(recipe), recipe.pretraining(method))


class Counted:
    """Steps that an optimiser takes, and its parameters after each."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: type[torch.optim.Optimizer]) -> None:
        self.after: list[list[Tensor]] = []
        real: Callable[..., Any] = kind.step

        def step(optimiser: torch.optim.Optimizer, *arguments: Any) -> Any:
            found = real(optimiser, *arguments)
            parameters = optimiser.param_groups[0]["params"]
            self.after.append([p.detach().clone() for p in parameters])
            return found

        patch.setattr(kind, "step", step)

    def take(self) -> int:
        """How many there were since this was last asked."""
        count = len(self.after)
        self.after.clear()
        return count


def test_they_are_known_and_not_compared_unasked() -> None:
    assert set(EQUAL_STEPS) < set(ON_ALL) < set(METHODS)
    assert set(EQUAL_STEPS).isdisjoint(CompareConfig().methods)
    assert "ssl-full-steps" in SSL_METHODS
    assert {m: METHODS[m].as_many_steps_as for m in EQUAL_STEPS} == {
        "full-steps": "full",
        "ssl-full-steps": "ssl-full",
    }


@pytest.mark.parametrize("size, steps", [(3, 1), (8, 2), (9, 2), (10, 3)])
def test_full_steps_takes_as_many_steps_as_a_small_set(
    size: int, steps: int, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 4; a single leftover image joins the last one."""
    run = Run(tiny_recipe.having(size=size), tmp_path / "run")
    run.distilled("random", 0)
    counted = Counted(monkeypatch, torch.optim.SGD)
    run.pretrained("random", 0)
    assert counted.take() == 2 * steps
    run.pretrained("full-steps", 0)
    assert counted.take() == 2 * steps
    assert {steps_of(run.recipe, m) for m in ("full-steps", "random")} == {2 * steps}


def test_ssl_full_steps_takes_as_many_steps_as_a_small_set(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever lengths of their own the other two have.
    own = tiny_recipe.set("ssl.epochs", 1).set("ssl.full_epochs", 2)
    for recipe in (tiny_recipe, own):
        counted = Counted(monkeypatch, torch.optim.Adam)
        Run(recipe, tmp_path / "run").pretrained("ssl-full-steps", 0)
        assert counted.take() == steps_of(recipe, "random") == 4


@pytest.mark.parametrize("holdout", [0.25, 0.175])  # 30 images; 33: one left over
def test_the_facts_are_the_steps_taken(
    holdout: float, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tiny_recipe.set("images.holdout", holdout), tmp_path / "run")
    run.distilled("random", 0)
    for kind, methods in (
        (torch.optim.SGD, ("random", "full", "full-steps")),
        (torch.optim.Adam, SSL_METHODS),
    ):
        counted = Counted(monkeypatch, kind)
        for method in methods:
            run.pretrained(method, 0)
            facts = run.facts(method)
            assert counted.take() == facts["steps"], method
            assert facts["images"] == (len(run.images) if method in ON_ALL else 9)


def test_it_trains_on_all_images(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(
        tiny_recipe.set("pretrain.epochs", 4), tmp_path / "run"
    )  # 8 steps of 4 images: an epoch of the 30
    seen: list[Tensor] = []

    def spy(images: Images, batches: list[Tensor], *, device: Any) -> Any:
        for index in batches:
            seen.append(index)
            yield index, images.normalised(index)

    monkeypatch.setattr(importlib.import_module("decoct.training.pretrain"), "stream", spy)
    run.pretrained("full-steps", 0)
    assert torch.cat(seen).sort().values.tolist() == list(range(30))


def test_no_epochs_of_its_own_are_the_small_sets(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe.set("compare.full_epochs", 0)
    assert tiny_recipe.pretraining("full").epochs == 3
    for method in ("full", "ssl-full", "random", *EQUAL_STEPS):
        assert recipe.pretraining(method).epochs == recipe.pretrain.epochs == 2
    counted = Counted(monkeypatch, torch.optim.SGD)
    Run(recipe, tmp_path / "run").pretrained("full", 0)
    assert counted.take() == 2 * 8


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 8, 40, 100])
def test_steps_are_counted_as_an_epoch_has_them(
    batch: int, tiny_images: Images, tiny_targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch, torch.optim.SGD)
    part = torch.arange(9)
    pretrain_on_all(
        images=tiny_images.subset(part),
        targets=tiny_targets.part(part),
        rule=replace(RULE, batch=batch),
        config=CONFIG,
    )
    assert counted.take() == 2 * steps_an_epoch(9, batch)
    alone = batch < 9 and 8 % batch == 0  # a ninth image, which joins those before it
    assert steps_an_epoch(9, batch) == math.ceil(9 / batch) - alone


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])  # of three an epoch
def test_cut_short_it_is_the_first_steps_of_the_longer_training(
    steps: int, tiny_images: Images, tiny_targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(steps: int | None) -> Any:
        return pretrain_on_all(
            images=tiny_images, targets=tiny_targets, rule=RULE, config=CONFIG, steps=steps, seed=3
        )

    short = train(steps)
    counted = Counted(monkeypatch, torch.optim.SGD)
    whole = train(None)
    after = counted.after[steps - 1]
    body = list(short.network.body.parameters())
    assert all(torch.equal(p, q) for p, q in zip(body, after[: len(body)], strict=True))
    assert counted.take() == 6
    assert len(short.provenance["losses"]) == math.ceil(steps / 3)
    epochs = steps // 3
    assert short.provenance["losses"][:epochs] == whole.provenance["losses"][:epochs]


def test_so_many_steps_as_the_epochs_have_are_the_epochs(
    tiny_images: Images, tiny_targets: Targets
) -> None:
    one, other = (
        pretrain_on_all(
            images=tiny_images, targets=tiny_targets, rule=RULE, config=CONFIG, steps=steps
        )
        for steps in (6, None)
    )
    assert one.provenance == other.provenance
    pairs = zip(one.network.body.parameters(), other.network.body.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def test_the_estimate_counts_them(tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """At one second per image, pre-training takes as many seconds as networks see images."""
    monkeypatch.setattr(Unit, "seconds", lambda self, bench: 1.0)
    sizes = replace(sizes_of(tiny_recipe), images=40)

    def seconds(*methods: str) -> float:
        recipe = tiny_recipe.set("compare.methods", methods).set("compare.seeds", 2)
        stages = Graph(recipe).of_a_run()
        return stage_seconds(stages, sizes, torch.device("cpu"))["pre-training"]

    assert seconds("random") == 2 * 2 * 9
    assert seconds("full-steps") == 2 * 4 * 4  # two epochs of two steps, of 4 images
    assert seconds("full") == 2 * 3 * 10 * 4
    assert seconds("ssl-full-steps") == 2 * 4 * 8
    assert seconds("random", "full", *EQUAL_STEPS) == 2 * (18 + 16 + 120 + 32)
