"""Recipes: shipped ones, round trips, and what is wrong with those of others."""

from pathlib import Path

import pytest
import yaml

from decoct.core.errors import DecoctError
from decoct.run.recipe import Recipe, load_recipe, recipe_names

SHIPPED = (
    "demo",
    "fashion-mnist",
    "cifar10-2pct",
    "cifar10-5pct",
    "cifar100-2pct",
    "cifar100-5pct",
    "tinyimagenet-2pct",
    "tinyimagenet-5pct",
)


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_recipes_are_shipped() -> None:
    assert set(SHIPPED) <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert load_recipe(_write(tmp_path, recipe.to_yaml())) == recipe


def test_defaults_survive_a_round_trip(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path, Recipe().to_yaml())) == Recipe()


@pytest.mark.parametrize("name", [n for n in recipe_names() if n.startswith(("cifar", "tiny"))])
def test_published_settings(name: str) -> None:
    recipe = load_recipe(name)
    tiny, five = name.startswith("tiny"), name.endswith("5pct")
    assert recipe.fraction == (0.05 if five else 0.02)
    assert recipe.experts.count == 100
    assert recipe.experts.network.depth == (4 if recipe.images.size == 64 else 3)
    distill = recipe.distill
    assert distill.start == "high-loss"
    assert distill.optimiser == "sgd" and distill.momentum == 0.5
    assert distill.expert_epochs == 2
    assert distill.max_start_epoch == (5 if five and not tiny else 2)
    assert distill.iterations == (10_000 if tiny else 5_000)
    assert distill.inner_steps == (10 if tiny else 40)
    assert distill.lr_images == (1e5 if tiny else 1e4 if five else 1e3)


def test_a_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path, "seed: 3")).name == "mine"


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("itterations: 3", "there is no setting itterations"),
        ("frction: 0.1", "there is no setting frction; perhaps you meant fraction?"),
        (
            "distill: {itterations: 3}",
            "there is no setting distill.itterations; perhaps you meant iterations?",
        ),
        (
            "experts: {network: {widht: 3}}",
            "there is no setting experts.network.widht; perhaps you meant width?",
        ),
        ("3: 4", "there is no setting 3"),
        ("fraction: much", r"Expected `float`, got `str` - at `\$.fraction`"),
        ("distill: {iterations: 2.5}", r"Expected `int`, got `float` - at `\$.distill.iterations`"),
        ("distill: 7", r"Expected `object`, got `int` - at `\$.distill`"),
        ("compare: {methods: [none, magic]}", "method 'magic' is unknown"),
        ("distill: {start: hardest}", "Invalid enum value 'hardest'"),
        ("experts: {network: {name: alexnet}}", "network 'alexnet' is unknown"),
        ("fraction: 0", "the fraction in"),
        ("fraction: 1.5", "the fraction in"),
        ("size: -1", "the size must be positive"),
        ("distill: {max_start_epoch: 3, expert_epochs: 2}", "read epoch 4 .* experts.epochs is 3"),
        ("probe: {fractions: [0]}", r"label fraction 0.0 is outside \(0, 1\]"),
        ("a: [1", "is not valid YAML"),
        ("- a\n- b", "must be a mapping of settings"),
        ("", "must be a mapping of settings"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence) as caught:
        load_recipe(_write(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


def test_yaml_makes_no_python_objects(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = f"name: !!python/object/apply:os.system ['touch {trace}']"
    with pytest.raises(DecoctError, match="is not valid YAML"):
        load_recipe(_write(tmp_path, text))
    assert not trace.exists()
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)


@pytest.mark.parametrize(
    "name, sentence", [("demoo", "perhaps you meant demo?"), ("no/such.yaml", "no recipe")]
)
def test_a_recipe_that_does_not_exist(name: str, sentence: str) -> None:
    with pytest.raises(DecoctError, match=sentence):
        load_recipe(name)


def test_sources_are_looked_for_in_the_data_folder_first(tmp_path: Path) -> None:
    (tmp_path / "pool.npz").touch()
    recipe = Recipe(data=str(tmp_path))
    assert recipe.source("pool.npz") == str(tmp_path / "pool.npz")
    assert recipe.source("emoji") == "emoji"
    assert recipe.source("") == ""
