"""The stages of a recipe: which ones a run has, and which changes make each of them again."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.methods.registry import METHODS
from decoct.methods.views import Views
from decoct.run import graph as graph_module
from decoct.run.graph import Graph
from decoct.run.method_stages import encoder_of, label_free_of, probe_of, set_of
from decoct.run.recipe import Recipe
from decoct.run.stage import Stage
from decoct.training.ssl_pretrain import SSLPretrainConfig

SETS = tuple(name for name, kind in METHODS.items() if kind.makes_set)
# With a teacher that is trained here, and every method: all stages that there are.
WHOLE = (
    Recipe()
    .set("teacher.train", True)
    .set("compare.methods", tuple(METHODS))
    .set("compare.seeds", 2)
    .set("compare.tasks", ("emoji",))
)


def names_of(recipe: Recipe) -> list[str]:
    return [stage.name for stage in Graph(recipe).of_a_run()]


def changed(one: Recipe, other: Recipe, among: list[str] | None = None) -> set[str]:
    """The stages whose keys differ."""
    first, second = Graph(one), Graph(other)
    return {n for n in among or names_of(WHOLE) if first.key(n) != second.key(n)}


def made_from(*names: str) -> set[str]:
    """The stages that depend on any of `names`, including `names` themselves."""
    graph = Graph(WHOLE)
    return {
        stage.name
        for stage in graph.of_a_run()
        if {s.name for s in graph.reachable([stage.name])} & set(names)
    }


# What a run is made of


def test_each_stage_comes_after_its_inputs() -> None:
    seen: set[str] = set()
    for stage in Graph(WHOLE).of_a_run():
        assert set(stage.inputs) <= seen, stage.name
        seen.add(stage.name)
    assert {probe_of(m, s) for m in METHODS for s in (0, 1)} <= seen


def test_no_two_stages_have_one_key() -> None:
    """But for the encoders that are the same with every seed."""
    graph = Graph(WHOLE)
    given = [name for name, kind in METHODS.items() if kind.another_network]
    names = [n for n in names_of(WHOLE) if n not in {encoder_of(name, 1) for name in given}]
    for name in given:
        assert graph.key(encoder_of(name, 0)) == graph.key(encoder_of(name, 1))
    assert len({graph.key(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "method, made",
    [
        ("krr-st", ["random-seed0", "krr-st-seed0"]),
        ("boost-ssdd", ["assistant", "boost-ssdd-seed0"]),
        ("views", ["k-means-seed0", "assistant", "views-seed0"]),
        ("mkdt", ["experts", "difficulty", "high-loss-seed0", "mkdt-seed0"]),
        ("sas", ["sas-seed0"]),
    ],
)
def test_if_nothing_judges_a_run_is_the_one_methods_set_and_encoder(
    method: str, made: list[str]
) -> None:
    shared = ["images", "split", "images learnt from", "teacher", "targets", "targets learnt from"]
    found = names_of(Recipe(method=method).set("compare.tasks", ()))
    assert sorted(found) == sorted([*shared, *made, encoder_of(method, 0)])
    assert found[-1] == encoder_of(method, 0)


def test_with_images_held_out_methods_are_judged_without_labels() -> None:
    recipe = Recipe().set("compare.methods", ("random", "teacher")).set("compare.seeds", 2)
    judged = [label_free_of(m, seed) for seed in (0, 1) for m in ("random", "teacher")]
    held_out = recipe.set("images.holdout", 0.1)
    assert list(Graph(held_out).asked_for()) == [encoder_of("carried", 0), *judged]  # its own, too
    both = held_out.set("compare.tasks", ("emoji",))
    assert {*judged, probe_of("random", 1)} < set(Graph(both).asked_for())
    assert "label-free" not in str(list(Graph(recipe.set("compare.tasks", ("emoji",))).asked_for()))


def test_without_tasks_mtt_ssl_asks_no_teacher() -> None:
    found = names_of(Recipe(method="mtt-ssl", seed=3).set("compare.tasks", ()))
    own = ["ssl-experts", "mtt-ssl-seed3", "encoder-mtt-ssl-seed3"]
    assert found == ["images", "split", "images learnt from", *own]


def test_who_chooses_the_images_is_what_the_setting_says() -> None:
    alone = Recipe(method="mkdt").set("compare.tasks", ())
    found = names_of(alone.set("mkdt.init", "random"))
    assert "random-seed0" in found and "difficulty" not in found
    found = names_of(alone.having(method="views").set("views.select", "high-loss"))
    assert {"experts", "difficulty", "high-loss-seed0"} < set(found)
    assert "k-means-seed0" not in found
    found = names_of(alone.having(method="views").set("views.labels", "image"))
    assert "assistant" not in found


def test_experts_are_trained_for_those_who_match_them_alone() -> None:
    needed = {m for m in METHODS if "experts" in names_of(WHOLE.set("compare.methods", (m,)))}
    assert needed == {"high-loss", "mkdt", "carried-mkdt"}
    needed = {m for m in METHODS if "ssl-experts" in names_of(WHOLE.set("compare.methods", (m,)))}
    assert needed == {"mtt-ssl"}


def test_where_targets_are_from_a_file_no_teacher_is_compared() -> None:
    recipe = Recipe().set("targets.source", "targets.npy")
    assert "teacher" in recipe.compare.methods
    assert Graph(recipe).methods == [m for m in recipe.compare.methods if m != "teacher"]


@pytest.mark.parametrize("name", ["expert", "mkdt", "mkdt-seed", "mkdt-seedone", ""])
def test_a_stage_that_is_none(name: str) -> None:
    with pytest.raises(DecoctError, match=f"there is no stage {name}"):
        Graph(Recipe()).stage(name)


def test_nor_is_there_a_stage_of_a_method_that_is_none() -> None:
    with pytest.raises(DecoctError, match=r"perhaps you meant mkdt\?"):
        Graph(Recipe()).stage("mktd-seed0")


# Keys


@pytest.mark.parametrize("name", names_of(WHOLE.set("compare.seeds", 1)))
def test_a_raised_version_makes_a_stage_anew_and_all_that_is_made_from_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {n: Graph(WHOLE).key(n) for n in names_of(WHOLE)}

    def raised(make: Callable[..., list[Stage[Any]]]) -> Callable[..., list[Stage[Any]]]:
        def stages(*arguments: Any) -> list[Stage[Any]]:
            return [
                replace(s, version=s.version + 1) if s.name == name else s for s in make(*arguments)
            ]

        return stages

    for maker in ("shared_stages", "method_stages"):
        monkeypatch.setattr(graph_module, maker, raised(getattr(graph_module, maker)))
    after = Graph(WHOLE)
    assert {n for n, key in before.items() if after.key(n) != key} == made_from(name)


def test_the_seed_is_the_trained_teachers_and_not_the_one_brought_along() -> None:
    brought = Recipe()
    trained = brought.set("teacher.train", True)
    wanted = ["teacher", "targets", "experts"]
    assert changed(brought, brought.having(seed=1), wanted) == {"experts"}
    assert changed(trained, trained.having(seed=1), wanted) == set(wanted)
    assert changed(brought, trained, wanted) == set(wanted)


def test_where_experts_are_kept_makes_nothing_anew() -> None:
    assert changed(WHOLE, WHOLE.set("matching.expert_memory", 0.5)) == set()
    older = asdict(WHOLE.matching)
    del older["expert_memory"]
    assert storage.digest(older) == storage.digest(WHOLE.matching)  # so runs of before are found


def test_sets_are_divided_by_the_experts_of_a_step() -> None:
    graph = Graph(WHOLE.set("matching.experts_per_step", 4))
    divided = {f"{method}-seed{seed}" for method in ("mkdt", "mtt-ssl") for seed in (0, 1)}
    sets = {set_of(method, seed) for method in SETS for seed in (0, 1)}
    assert {name for name in sets if graph.stage(name).parts == 4} == divided
    assert all(Graph(WHOLE).stage(name).parts == 1 for name in divided)


def test_how_a_teacher_would_be_trained_does_not_matter_where_none_is() -> None:
    brought = Recipe()
    assert changed(brought, brought.set("teacher.ssl.epochs", 7), ["teacher", "targets"]) == set()
    trained = brought.set("teacher.train", True)
    other = trained.set("teacher.source", "timm:resnet18").set("teacher.ssl.epochs", 7)
    assert changed(trained, other, ["teacher", "targets"]) == {"teacher", "targets"}
    same = trained.set("teacher.source", "timm:resnet18")
    assert changed(trained, same, ["teacher", "targets"]) == set()


def test_the_batches_of_matching_and_of_real_images_are_two_settings() -> None:
    sets = [set_of(method, 0) for method in SETS]
    learnt = {"mkdt-seed0", "mtt-ssl-seed0"}
    matched = {*learnt, "carried-mkdt-seed0"}  # which is trained on by the rule for real images
    assert changed(WHOLE, WHOLE.set("matching.batch", 8), sets) == matched
    for setting, value in (("rule.batch", 8), ("rule.lr", 0.3)):
        assert changed(WHOLE, WHOLE.set(setting, value), sets) == set(sets) - learnt
    # Nor does it matter from whose images they begin.
    own = WHOLE.set("mkdt.init", "random")
    assert changed(own, own.set("rule.batch", 8), ["mkdt-seed0"]) == set()
    assert changed(WHOLE, own, ["mkdt-seed0"]) == {"mkdt-seed0"}


@pytest.mark.parametrize("setting", ["sas.classes", "sas.penalty"])
def test_who_begins_with_a_methods_images_depends_on_how_they_are_chosen(setting: str) -> None:
    recipe = WHOLE.set("mkdt.init", "sas").set("views.select", "sas")
    other = recipe.set(setting, 7 if setting == "sas.classes" else False)
    sets = [set_of(method, 0) for method in SETS]
    begin = {"mkdt-seed0", "views-seed0", "carried-mkdt-seed0"}
    assert changed(recipe, other, sets) == {"sas-seed0", *begin}


def test_how_many_experts_there_are_counts_for_what_is_made_from_them() -> None:
    found = changed(WHOLE, WHOLE.set("experts.count", 7))
    assert "experts" not in found and "ssl-experts" not in found
    assert {"difficulty", "mkdt-seed0", "mtt-ssl-seed0", "high-loss-seed0"} < found
    assert found == made_from("experts", "ssl-experts") - {"experts", "ssl-experts"}


@pytest.mark.parametrize(
    "setting, value, first",
    [
        ("targets.components", 3, ["targets"]),
        ("assistant.epochs", 3, ["assistant"]),
        ("views.count", 3, [f"views-seed{s}" for s in (0, 1)]),
        ("krr_st.lifetime", 3, [f"krr-st-seed{s}" for s in (0, 1)]),
        ("mtt_ssl.lr", 0.5, ["ssl-experts"]),
        ("pretrain.epochs", 3, None),
        ("probe.draws", 3, None),
    ],
)
def test_a_setting_makes_anew_what_depends_on_it_and_no_more(
    setting: str, value: Any, first: list[str] | None
) -> None:
    found = changed(WHOLE, WHOLE.set(setting, value))
    if first is not None:
        assert found == made_from(*first)
    else:
        assert found and all(name.startswith(("encoder-", "probe-")) for name in found)


def test_a_seeds_set_is_the_same_whichever_seed_is_the_first() -> None:
    """What is shared does not depend on the recipe's seed."""
    name = set_of("random", 2)
    assert Graph(Recipe()).key(name) == Graph(Recipe(seed=2)).key(name)


def test_the_set_of_all_images_does_not_depend_on_a_small_sets_size() -> None:
    names = [encoder_of("full", 0), encoder_of("random", 0), encoder_of("full-steps", 0)]
    assert changed(WHOLE, WHOLE.having(size=9), names) == set(names[1:])


def test_the_same_files_elsewhere_are_the_same_pool(tiny_recipe: Recipe, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another" / "place"
    elsewhere.mkdir(parents=True)
    for file in ("pool.npz", "targets.npy", "stripes.npz"):
        shutil.copy(tmp_path / file, elsewhere / file)
    moved = tiny_recipe.having(data=str(elsewhere))
    assert changed(tiny_recipe, moved, names_of(tiny_recipe)) == set()
    spelt = tiny_recipe.having(data="").set("images.source", str(elsewhere / "pool.npz"))
    assert changed(tiny_recipe, spelt, ["images"]) == set()
    (elsewhere / "pool.npz").write_bytes((elsewhere / "stripes.npz").read_bytes())
    assert "images" in changed(tiny_recipe, moved, names_of(tiny_recipe))


def test_the_defaults_are_what_these_tests_take_them_for() -> None:
    assert Views().select == "k-means" and Recipe().mkdt.init == "high-loss"
    assert SSLPretrainConfig().epochs == 0
