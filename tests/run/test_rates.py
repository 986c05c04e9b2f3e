"""A factor on a method's rate is a rule with that rate, for that method alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.methods.registry import METHODS
from decoct.methods.ssl_random import SSLRandom
from decoct.models.registry import NetworkConfig
from decoct.run.graph import Graph
from decoct.run.method_stages import encoder_of, set_of
from decoct.run.pipeline import Run
from decoct.run.recipe import CompareConfig, Recipe, load_recipe
from decoct.training.pretrain import PretrainConfig, pretrain, pretrain_on_all

FACTORS = [0.3, 1.0, 2.0, 7.5]
CONFIG = PretrainConfig(network=NetworkConfig(width=4, depth=2), epochs=2)
RULE = TrainingRule(lr=0.03, momentum=0.9, weight_decay=1e-3, batch=8)
PRETRAINED = tuple(name for name, kind in METHODS.items() if kind.keeps_encoder)
SETS = tuple(name for name, kind in METHODS.items() if kind.makes_set)
SSL_METHODS = tuple(name for name, kind in METHODS.items() if issubclass(kind, SSLRandom))


def same(a: Encoder, b: Encoder) -> bool:
    first, second = (e.network.body.state_dict() for e in (a, b))
    return all(torch.equal(first[name], second[name]) for name in first)


def with_factors(recipe: Recipe, **factors: float) -> Recipe:
    named = {name.replace("_", "-"): factor for name, factor in factors.items()}
    return recipe.set("compare.lr_factors", named)


@pytest.mark.parametrize("factor", FACTORS)
def test_on_a_set_it_is_a_rule_with_that_rate(
    factor: float, tiny_images: Images, tiny_targets: Targets
) -> None:
    index = torch.arange(12)
    distilled = DistilledSet(
        images=tiny_images.normalised(index),
        targets=tiny_targets.values[index],
        mean=tiny_images.mean,
        std=tiny_images.std,
        rule=RULE,
        method="test",
    )
    by_factor = pretrain(distilled=distilled, config=replace(CONFIG, lr_factor=factor))
    rule = replace(RULE, lr=factor * RULE.lr)
    by_rule = pretrain(distilled=distilled, config=CONFIG, rule=rule)
    assert same(by_factor, by_rule)
    assert by_factor.provenance == by_rule.provenance  # where the rule is the one that was used
    assert by_factor.provenance["rule"]["lr"] == factor * RULE.lr
    assert same(by_factor, pretrain(distilled=distilled, config=CONFIG)) == (factor == 1)


@pytest.mark.parametrize("factor", FACTORS)
def test_on_all_images_it_is_a_rule_with_that_rate(
    factor: float, tiny_images: Images, tiny_targets: Targets
) -> None:
    def train(rule: TrainingRule, lr_factor: float) -> Encoder:
        return pretrain_on_all(
            images=tiny_images,
            targets=tiny_targets,
            rule=rule,
            config=replace(CONFIG, lr_factor=lr_factor),
            steps=3,
        )

    assert same(train(RULE, factor), train(replace(RULE, lr=factor * RULE.lr), 1.0))


@pytest.mark.parametrize("method", ["random", "full", "full-steps"])
def test_in_a_comparison_it_is_a_rate_of_real_images(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    by_factor = tiny_recipe.set("compare.lr_factors", {method: 0.3})
    by_rate = tiny_recipe.set("rule.lr", 0.3 * tiny_recipe.rule.lr)
    one, other = (Run(r, tmp_path / "run").pretrained(method, 0) for r in (by_factor, by_rate))
    assert same(one, other)


@pytest.mark.parametrize("method", SSL_METHODS)
def test_by_self_supervision_it_is_a_rate_of_adam(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    by_factor = tiny_recipe.set("compare.lr_factors", {method: 0.3})
    by_rate = tiny_recipe.set("ssl.lr", 0.3 * tiny_recipe.ssl.lr)
    recipes = (by_factor, by_rate, tiny_recipe)
    one, other, plain = (Run(r, tmp_path / "run").pretrained(method, 0) for r in recipes)
    assert same(one, other)
    assert not same(one, plain)


def test_a_learnt_rate_is_multiplied(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(with_factors(tiny_recipe, mkdt=3.0), tmp_path / "run")
    learnt = run.distilled("mkdt", 0).rule
    assert run.pretrained("mkdt", 0).provenance["rule"] == vars(replace(learnt, lr=3.0 * learnt.lr))
    # The set is the same whatever it is trained on with, and so is found again.
    name = set_of("mkdt", 0)
    assert Graph(tiny_recipe).key(name) == run.graph.key(name)


def test_a_methods_own_factor_comes_before_everyones(tiny_recipe: Recipe) -> None:
    recipe = with_factors(tiny_recipe, ssl_full=0.25, random=2)
    recipe = recipe.set("pretrain.lr_factor", 5.0)
    assert recipe.pretraining("ssl-full").lr_factor == 0.25
    assert recipe.pretraining("random").lr_factor == 2
    assert recipe.pretraining("mkdt").lr_factor == 5.0


@pytest.mark.parametrize("method", PRETRAINED)
def test_a_factor_makes_its_own_methods_encoder_again_and_no_others(
    method: str, tiny_recipe: Recipe
) -> None:
    plain = Graph(tiny_recipe)
    factor = Graph(tiny_recipe.set("compare.lr_factors", {method: 2.0}))
    names = {m: encoder_of(m, 0) for m in METHODS}
    changed = [m for m, name in names.items() if factor.key(name) != plain.key(name)]
    assert changed == [method]
    assert all(factor.key(set_of(m, 0)) == plain.key(set_of(m, 0)) for m in SETS)
    one = Graph(tiny_recipe.set("compare.lr_factors", {method: 1.0}))
    assert one.key(names[method]) == plain.key(names[method])


@pytest.mark.parametrize(
    "factors, sentence",
    [
        ({"mktd": 2.0}, "compare.lr_factors: 'mktd' is unknown; perhaps you meant mkdt?"),
        ({"full-step": 2.0}, "perhaps you meant full-steps?"),
        ({"random": 0.0}, "compare.lr_factors.random is 0; it must be above 0"),
        ({"random": -1.0}, "random is -1;"),
        ({"mkdt": math.inf}, "mkdt is inf"),
        ({"mkdt": math.nan}, "mkdt is nan"),
    ],
)
def test_bad_factors_are_refused(factors: dict[str, float], sentence: str) -> None:
    with pytest.raises(DecoctError) as caught:
        CompareConfig(lr_factors=factors)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("factor", [0.0, -2.0, math.inf, math.nan])
def test_a_bad_factor_for_all_is_refused(factor: float) -> None:
    sentence = f"pretrain.lr_factor is {factor:g}; it must be above 0"
    with pytest.raises(DecoctError, match=sentence):
        PretrainConfig(lr_factor=factor)


@pytest.mark.parametrize(
    "factors, sentence",
    [
        ("{mktd: 2}", "perhaps you meant mkdt?"),
        ("{mkdt: fast}", "compare.lr_factors.mkdt is 'fast'; it must be a number, above 0"),
    ],
)
def test_a_recipe_with_bad_factors_is_refused(
    factors: str, sentence: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("seeds: 1", f"seeds: 1, lr_factors: {factors}"))
    with pytest.raises(DecoctError, match=r"mine\.yaml") as caught:
        load_recipe(path)
    assert sentence in str(caught.value)


def test_factors_are_flags_and_survive_a_round_trip(tiny_recipe: Recipe, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "run")]
    flags = ["--compare.lr-factors", "ssl-random", "2", "mkdt", "0.5", "--pretrain.lr-factor", "3"]
    assert main(["stage", "load-images", str(tmp_path / "mine.yaml"), *out, *flags]) == 0
    recipe = load_recipe(tmp_path / "run/recipe.yaml")
    assert recipe.compare.lr_factors == {"ssl-random": 2.0, "mkdt": 0.5}
    assert recipe.pretrain.lr_factor == 3
    assert recipe.images == tiny_recipe.images
