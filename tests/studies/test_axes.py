"""The axes of an ablation: each changes the setting that it names, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from decoct.artefacts.targets import TargetsConfig
from decoct.core.errors import DecoctError
from decoct.matching.loop import MatchingConfig
from decoct.methods.mkdt import MKDT
from decoct.run.recipe import Recipe, TeacherConfig, load_recipe
from decoct.studies.axes import plan
from decoct.training.expert import ExpertsConfig
from decoct.training.teacher import SSLConfig

COMMON = ("teacher", "size", "coding")
BASE = Recipe(
    method="mkdt",
    fraction=0.05,
    experts=ExpertsConfig(count=6, epochs=6),
    matching=MatchingConfig(iterations=60, inner_steps=10, max_start_epoch=4, expert_epochs=2),
).having(mkdt=MKDT(init="random"))
AXES = (
    "init",
    "targets",
    "lr",
    "experts",
    "max-start-epoch",
    "expert-epochs",
    "steps",
    "iterations",
    *COMMON,
)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every setting by its dotted name."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flat(item, f"{path}.{key}".lstrip("."))
    return found


def differences(recipe: Recipe, base: Recipe = BASE) -> dict[str, Any]:
    """The settings in which a recipe differs from the base."""
    own, other = (flat(yaml.safe_load(r.to_yaml())) for r in (recipe, base))
    assert own.keys() == other.keys()
    return {name: value for name, value in own.items() if value != other[name]}


def changes(axis: str, base: Recipe = BASE) -> dict[str, dict[str, Any]]:
    """What each value of an axis changes."""
    variants = plan(base, [axis])
    assert {v.axis for v in variants} == {axis.partition("=")[0]}
    return {v.value: differences(v.recipe, base) for v in variants}


@pytest.mark.parametrize(
    "axis, expected",
    [
        ("init", {"random": {}, "high-loss": {"mkdt.init": "high-loss"}}),
        ("targets", {"learnt": {}, "fixed": {"matching.lr_targets": 0.0}}),
        ("lr", {"learnt": {}, "fixed": {"matching.lr_log_lr": 0.0}}),
        (
            "experts",
            {
                "1": {"experts.count": 1},
                "3": {"experts.count": 3},
                "6": {},
                "8": {"experts.count": 8},
                "20": {"experts.count": 20},
            },
        ),
        (
            "max-start-epoch",
            {"1": {"matching.max_start_epoch": 1}, "2": {"matching.max_start_epoch": 2}, "4": {}},
        ),
        (
            "expert-epochs",
            {"1": {"matching.expert_epochs": 1}, "2": {}, "3": {"matching.expert_epochs": 3}},
        ),
        ("steps", {"5": {"matching.inner_steps": 5}, "10": {}, "20": {"matching.inner_steps": 20}}),
        (
            "iterations",
            {"30": {"matching.iterations": 30}, "60": {}, "120": {"matching.iterations": 120}},
        ),
        (
            "teacher",
            {
                "embedded": {},
                "barlow_twins": {"teacher.train": True},
                "simclr": {"teacher.train": True, "teacher.ssl.algorithm": "simclr"},
                "vicreg": {"teacher.train": True, "teacher.ssl.algorithm": "vicreg"},
            },
        ),
        (
            "size",
            {
                "1%": {"fraction": 0.01},
                "2%": {"fraction": 0.02},
                "5%": {},
                "10%": {"fraction": 0.1},
            },
        ),
        ("experts=12,2", {"2": {"experts.count": 2}, "6": {}, "12": {"experts.count": 12}}),
        ("size=2.5", {"2.5%": {"fraction": 0.025}, "5%": {}}),
    ],
)
def test_each_value_changes_what_it_says_and_nothing_else(
    axis: str, expected: dict[str, dict[str, Any]]
) -> None:
    found = changes(axis)
    assert found == expected
    assert list(found) == list(expected)  # and in this order


def test_all_axes_are_varied_unless_some_are_named() -> None:
    assert list(dict.fromkeys(v.axis for v in plan(BASE))) == list(AXES)
    assert [v.axis for v in plan(BASE, ["steps=1", "init", "init"])] == ["steps"] * 2 + ["init"] * 2
    for axis in AXES:
        assert [v.recipe for v in plan(BASE, [axis])].count(BASE) == 1


@pytest.mark.parametrize("name", ["demo", "cifar10-2pct", "tinyimagenet-5pct"])
def test_shipped_recipes_can_be_ablated(name: str) -> None:
    recipe = load_recipe(name).having(method="mkdt")
    variants = plan(recipe)
    assert {v.axis for v in variants} == set(AXES)
    # Experts are shared: nothing but their number, the teacher and the seed decides on them.
    assert {v.recipe.experts.epochs for v in variants} == {recipe.experts.epochs}


def test_a_number_of_images_gives_way_to_a_share() -> None:
    found = changes("size", replace(BASE, size=40))
    assert found["40 images"] == {} and found["5%"] == {"size": 0}
    assert next(iter(found)) == "40 images"


def test_targets_made_elsewhere_give_way_to_a_teacher() -> None:
    found = changes("teacher", replace(BASE, targets=TargetsConfig(source="some/where.npy")))
    assert found["where.npy"] == {}
    assert found["simclr"] == {
        "targets.source": "",
        "teacher.train": True,
        "teacher.ssl.algorithm": "simclr",
    }


def test_a_teacher_trained_here_is_the_base_of_its_algorithm() -> None:
    base = replace(BASE, teacher=TeacherConfig(train=True, ssl=SSLConfig(algorithm="vicreg")))
    found = changes("teacher", base)
    assert list(found) == ["barlow_twins", "simclr", "vicreg"]
    assert found["vicreg"] == {} and found["simclr"] == {"teacher.ssl.algorithm": "simclr"}


def test_what_experts_are_too_short_for_is_left_out_and_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = replace(
        BASE,
        experts=replace(BASE.experts, epochs=3),
        matching=replace(BASE.matching, max_start_epoch=2),
    )
    assert list(changes("max-start-epoch", short)) == ["1", "2"]
    assert "axis max-start-epoch: 4 is skipped" in (said := capsys.readouterr().err)
    assert "experts.epochs is 3" in said
    with pytest.raises(DecoctError, match=r"axis max-start-epoch, value 4: .*experts.epochs is 3"):
        plan(short, ["max-start-epoch=4"])


def test_what_is_not_learnt_has_no_rate_to_learn_at() -> None:
    fixed = replace(BASE, matching=replace(BASE.matching, lr_targets=0.0))
    assert {v.axis for v in plan(fixed)} == set(AXES) - {"targets"}
    with pytest.raises(DecoctError, match=r"axis targets: there is nothing to compare .* fixed"):
        plan(fixed, ["targets"])
    with pytest.raises(DecoctError, match=r"value learnt: .*matching.lr_targets is 0; set it"):
        plan(fixed, ["targets=learnt"])


def test_a_single_step_is_not_halved() -> None:
    single = replace(BASE, matching=replace(BASE.matching, inner_steps=1))
    assert list(changes("steps", single)) == ["1", "2"]


@pytest.mark.parametrize(
    "axes, sentence",
    [
        (["expert"], "there is no axis expert; perhaps you meant experts"),
        (["teachers=simclr"], "there is no axis teachers; perhaps you meant teacher"),
        (["init=hard"], "axis init, value hard: .*unknown"),
        (["init=highloss"], "axis init, value highloss: .*perhaps you meant high-loss"),
        (["teacher=byol"], "axis teacher, value byol"),
        (["experts=few"], "axis experts, value few: the value must be a whole number"),
        (["experts=0"], "axis experts, value 0: .*at least 1"),
        (["steps=0"], "axis steps, value 0: matching.inner_steps is 0; it must be at least 1"),
        (["size=0"], "axis size, value 0: .*fraction"),
        (["size=101%"], "axis size, value 101%: .*fraction"),
        (["size=all"], "axis size, value all: the value must be a share of the pool"),
        (["size=nan"], "axis size, value nan"),
        (["lr=slow"], "axis lr, value slow"),
        (["experts=6"], "axis experts: there is nothing to compare the recipe's 6 with"),
    ],
)
def test_mistakes(axes: list[str], sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        plan(BASE, axes)
