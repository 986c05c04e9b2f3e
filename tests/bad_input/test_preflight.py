"""Problems that would appear only after hours are found at the start."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decoct.artefacts.targets import TargetsConfig
from decoct.core.errors import DecoctError
from decoct.data.sources import load_images
from decoct.data.tasks import Task
from decoct.evaluation.probe import ProbeConfig
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig
from decoct.run.graph import Graph
from decoct.run.preflight import check_run
from decoct.run.recipe import Recipe, load_recipe
from decoct.training.teacher import SSLConfig


@pytest.fixture
def recipe(data: Path) -> Recipe:
    return replace(load_recipe(data / "mine.yaml"), data=str(data))


def _check(recipe: Recipe, task: Task, **more: Any) -> None:
    images = load_images(recipe.source("pool.npz"), size=16)
    check_run(
        Graph(recipe), folder=Path(recipe.data), **({"images": images, "tasks": [task]} | more)
    )


def test_a_sound_recipe_passes(recipe: Recipe, tiny_task: Task) -> None:
    state = torch.get_rng_state()
    _check(recipe, tiny_task)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_emojis_teacher_is_not_used_for_other_pictures_without_a_word(
    recipe: Recipe, tiny_task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "has seen only emoji"
    _check(recipe, tiny_task)  # its targets come from a file
    assert said not in capsys.readouterr().err
    embedded = replace(recipe, targets=TargetsConfig(components=2))
    _check(embedded, tiny_task)
    assert said in capsys.readouterr().err
    trained = replace(embedded.teacher, train=True, ssl=_with_own_teacher(recipe).teacher.ssl)
    _check(replace(embedded, teacher=trained), tiny_task)
    assert said not in capsys.readouterr().err


def _with_own_teacher(recipe: Recipe) -> Recipe:
    ssl = SSLConfig(network=NetworkConfig(name="resnet10-small", width=4))
    teacher = replace(recipe.teacher, train=True, ssl=ssl)
    return replace(recipe, teacher=teacher, targets=TargetsConfig(components=33))


def _too_deep(recipe: Recipe) -> Recipe:
    return replace(recipe, pretrain=replace(recipe.pretrain, network=NetworkConfig(depth=5)))


def _larger_than_16_px(recipe: Recipe) -> Recipe:
    network = NetworkConfig(name="timm:mixer_s32_224")
    return replace(recipe, pretrain=replace(recipe.pretrain, network=network))


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda r: replace(r, size=41), "41 images cannot be made from 40"),
        (lambda r: replace(r, probe=ProbeConfig(fractions=(), per_class=(11,))), "has 10 training"),
        (lambda r: replace(r, targets=replace(r.targets, components=5)), "have 4 dimensions"),
        (_with_own_teacher, "components is 33, .* have 32 dimensions"),
        (_larger_than_16_px, "timm:mixer_s32_224 cannot take images of 16 px .* 32 px"),
        (_too_deep, "depth 5 halves 16 px to nothing"),
    ],
)
def test_late_failures_are_found_early(
    recipe: Recipe, tiny_task: Task, change: Callable[[Recipe], Recipe], sentence: str
) -> None:
    with pytest.raises(DecoctError, match=sentence):
        _check(change(recipe), tiny_task)


def test_a_batch_runs_through_every_network(
    recipe: Recipe, tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(network: Network, images: torch.Tensor) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Network, "features", fail)
    with pytest.raises(DecoctError, match=r"network convnet cannot be trained .* multiplied"):
        _check(recipe, tiny_task)


def test_tasks_of_one_name(recipe: Recipe, tiny_task: Task) -> None:
    with pytest.raises(DecoctError, match=f"2 tasks are called {tiny_task.name}"):
        _check(recipe, tiny_task, tasks=[tiny_task, tiny_task])
