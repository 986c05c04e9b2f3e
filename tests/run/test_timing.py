"""The estimated time of a run: the work of its stages times the time per unit of work."""

from dataclasses import replace

import pytest
import torch

from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit
from decoct.models.registry import NetworkConfig
from decoct.report.costs import costs
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe, TeacherConfig
from decoct.run.sizes import measure_sizes
from decoct.run.timing import stage_seconds
from decoct.training.teacher import SSLConfig
from tests.run.test_doctor import STAGES, TINY

CPU = torch.device("cpu")


def sizes_of(recipe: Recipe) -> Sizes:
    found = measure_sizes(recipe)
    assert found is not None
    return found


def seconds(recipe: Recipe, sizes: Sizes) -> dict[str, float]:
    return stage_seconds(Graph(recipe).of_a_run(), sizes, CPU)


@pytest.fixture
def a_second_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every unit of work takes a second."""
    monkeypatch.setattr(Unit, "seconds", lambda self, bench: 1.0)


def test_times_follow_the_recipe() -> None:
    sizes = sizes_of(TINY)
    found = seconds(TINY, sizes)
    assert set(found) == set(STAGES)
    assert all(value > 0 for value in found.values())


def test_without_tasks_they_are_of_the_one_set() -> None:
    ssl = SSLConfig(network=NetworkConfig(name="resnet10-small", width=8), epochs=1, projector=16)
    own = TINY.having(method="mkdt", teacher=TeacherConfig(train=True, ssl=ssl))
    own = own.set("compare.tasks", ()).set("images.holdout", 0)
    sizes = sizes_of(own)
    shared, experts = {"teacher", "targets", "pre-training"}, {"experts", "difficulty"}
    assert set(seconds(own, sizes)) == shared | experts | {"distilling (mkdt)"}
    views = own.having(method="views")
    assert set(seconds(views, sizes)) == shared | {"assistant", "k-means"}


@pytest.mark.parametrize(
    "method, wanted",
    [
        ("krr-st", {"distilling (krr-st)"}),
        ("boost-ssdd", {"distilling (boost-ssdd)"}),
        ("mtt-ssl", {"ssl-experts", "distilling (mtt-ssl)"}),
        ("views", {"assistant", "k-means"}),
        ("mkdt", {"experts", "difficulty", "distilling (mkdt)"}),
        ("random", set()),
    ],
)
def test_any_method_alone_is_counted(
    method: str, wanted: set[str], tiny_recipe: Recipe, a_second_each: None
) -> None:
    """Targets are from a file here."""
    recipe = tiny_recipe.having(method=method).set("compare.tasks", ()).set("images.holdout", 0)
    found = seconds(recipe, sizes_of(recipe))
    assert set(found) == wanted | {"pre-training"}
    assert all(value > 0 for value in found.values())


def test_the_choice_of_the_images_of_views_takes_time(
    tiny_recipe: Recipe, a_second_each: None
) -> None:
    recipe = tiny_recipe.set("compare.methods", ("views",)).set("compare.seeds", 2)
    sizes = sizes_of(recipe)
    assert Graph(recipe).stage("k-means-seed0").work(sizes)
    assert seconds(recipe, sizes)["k-means"] == 2 * 30**2
    other = recipe.set("views.select", "random")
    assert "k-means" not in seconds(other, sizes)
    # If both are compared, it is made only once.
    both = recipe.set("compare.methods", ("views", "k-means"))
    assert seconds(both, sizes)["k-means"] == 2 * 30**2


def test_mkdt_from_the_hardest_images_pays_for_how_hard_they_are(
    tiny_recipe: Recipe, a_second_each: None
) -> None:
    recipe = tiny_recipe.set("compare.methods", ("mkdt",)).set("mkdt.init", "high-loss")
    sizes, graph = sizes_of(recipe), Graph(recipe)
    assert graph.stage("difficulty") in graph.of_a_run()
    found = seconds(recipe, sizes)
    assert found["difficulty"] == pytest.approx(30 / 3)  # one expert, forward alone
    assert found["experts"] == 2 * 30
    assert "difficulty" not in seconds(recipe.set("mkdt.init", "random"), sizes)

    taken = {"experts": 5.0, "difficulty": 3.0, "mkdt-seed0": 7.0, "high-loss-seed0": 1.0}
    inputs = {stage.name: stage.inputs for stage in graph.of_a_run()}
    (cost,) = costs(Scores((), {"mkdt": {"images": 9}}), taken, inputs)
    assert (cost.shared_s, cost.make_s) == (8.0, 7.0)


def test_half_the_images_left_out_are_half_the_work(
    tiny_recipe: Recipe, a_second_each: None
) -> None:
    recipe = tiny_recipe.set("compare.methods", ("mkdt", "full"))
    sizes = sizes_of(recipe.set("images.holdout", 0.0))
    whole, half = (seconds(recipe, replace(sizes, images=n)) for n in (40, 20))
    for stage in ("experts", "difficulty"):
        assert half[stage] == whole[stage] / 2
    assert half["distilling (mkdt)"] == whole["distilling (mkdt)"]


def test_a_unit_is_measured_once(tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Unit] = []
    monkeypatch.setattr(Unit, "seconds", lambda self, bench: measured.append(self) or 1.0)
    recipe = tiny_recipe.set("compare.methods", tuple(METHODS)).set("compare.seeds", 3)
    seconds(recipe, sizes_of(recipe))
    assert len(measured) == len(set(measured)) > 5
