"""A factor on a method's rate is a rule with that rate, for that method alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from decoct.run.keys import Keys

from decoct.artefacts.distilled import DistilledSet, TrainingRule
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.run.pipeline import Run
from decoct.run.recipe import METHODS, CompareConfig, Recipe, load_recipe
from decoct.training.pretrain import PretrainConfig, pretrain, pretrain_on_all
from decoct.training.ssl_pretrain import SSL_METHODS

FACTORS = [0.3, 1.0, 2.0, 7.5]
CONFIG = PretrainConfig(network=NetworkConfig(width=4, depth=2), epochs=2)
RULE = TrainingRule(lr=0.03, momentum=0.9, weight_decay=1e-3, batch=8)
PRETRAINED = tuple(method for method in METHODS if method not in ("none", "teacher"))


def same(a: Encoder, b: Encoder) -> bool:
    first, second = (e.network.body.state_dict() for e in (a, b))
    return all(torch.equal(first[name], second[name]) for name in first)


def with_rates(recipe: Recipe, **rates: float) -> Recipe:
    named = {name.replace("_", "-"): factor for name, factor in rates.items()}
    return replace(recipe, compare=replace(recipe.compare, rates=named))


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
    by_factor = pretrain(distilled=distilled, config=replace(CONFIG, rate=factor))
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
    def train(rule: TrainingRule, rate: float) -> Encoder:
        return pretrain_on_all(
            images=tiny_images,
            targets=tiny_targets,
            rule=rule,
            config=replace(CONFIG, rate=rate),
            steps=3,
        )

    assert same(train(RULE, factor), train(replace(RULE, lr=factor * RULE.lr), 1.0))


@pytest.mark.parametrize("method", ["random", "full", "full-steps"])
def test_in_a_comparison_it_is_a_rate_of_real_images(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    by_factor = replace(tiny_recipe, compare=replace(tiny_recipe.compare, rates={method: 0.3}))
    lr = 0.3 * tiny_recipe.compare.lr
    by_rate = replace(tiny_recipe, compare=replace(tiny_recipe.compare, lr=lr))
    one, other = (Run(r, tmp_path / "run").pretrained(method, 0) for r in (by_factor, by_rate))
    assert same(one, other)


@pytest.mark.parametrize("method", SSL_METHODS)
def test_by_self_supervision_it_is_a_rate_of_adam(
    method: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    by_factor = replace(tiny_recipe, compare=replace(tiny_recipe.compare, rates={method: 0.3}))
    ssl = replace(tiny_recipe.ssl, lr=0.3 * tiny_recipe.ssl.lr)
    by_rate = replace(tiny_recipe, ssl=ssl)
    recipes = (by_factor, by_rate, tiny_recipe)
    one, other, plain = (Run(r, tmp_path / "run").pretrained(method, 0) for r in recipes)
    assert same(one, other)
    assert not same(one, plain)


def test_a_learnt_rate_is_multiplied(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = Run(with_rates(tiny_recipe, mkdt=3.0), tmp_path / "run")
    learnt = run.distilled("mkdt", 0).rule
    assert run.pretrained("mkdt", 0).provenance["rule"] == vars(replace(learnt, lr=3.0 * learnt.lr))
    # The set is the same whatever it is trained on with, and so is found again.
    assert Keys(tiny_recipe).distilled("mkdt", 0) == run.keys.distilled("mkdt", 0)


def test_a_methods_own_factor_comes_before_everyones(tiny_recipe: Recipe) -> None:
    recipe = with_rates(tiny_recipe, ssl_full=0.25, random=2)
    recipe = replace(recipe, pretrain=replace(recipe.pretrain, rate=5.0))
    assert recipe.pretraining("ssl-full").rate == 0.25
    assert recipe.pretraining("random").rate == 2
    assert recipe.pretraining("mkdt").rate == 5.0


@pytest.mark.parametrize("method", PRETRAINED)
def test_a_factor_makes_its_own_methods_encoder_again_and_no_others(
    method: str, tiny_recipe: Recipe
) -> None:
    plain = Keys(tiny_recipe)
    factor = Keys(replace(tiny_recipe, compare=replace(tiny_recipe.compare, rates={method: 2.0})))
    changed = [m for m in METHODS if factor.encoder(m, 0) != plain.encoder(m, 0)]
    assert changed == [method]
    assert all(factor.distilled(m, 0) == plain.distilled(m, 0) for m in METHODS)
    one = Keys(replace(tiny_recipe, compare=replace(tiny_recipe.compare, rates={method: 1.0})))
    assert one.encoder(method, 0) == plain.encoder(method, 0)


@pytest.mark.parametrize(
    "rates, sentence",
    [
        ({"mktd": 2.0}, "compare.rates: 'mktd' is unknown; perhaps you meant mkdt?"),
        ({"full-step": 2.0}, "perhaps you meant full-steps?"),
        ({"random": 0.0}, "compare.rates: random is 0.0; give a positive factor"),
        ({"random": -1.0}, "random is -1.0"),
        ({"mkdt": math.inf}, "mkdt is inf"),
        ({"mkdt": math.nan}, "mkdt is nan"),
    ],
)
def test_bad_factors_are_refused(rates: dict[str, float], sentence: str) -> None:
    with pytest.raises(DecoctError) as caught:
        CompareConfig(rates=rates)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("rate", [0.0, -2.0, math.inf, math.nan])
def test_a_bad_factor_for_all_is_refused(rate: float) -> None:
    with pytest.raises(DecoctError, match=f"pretrain.rate is {rate}; give a positive factor"):
        PretrainConfig(rate=rate)


@pytest.mark.parametrize(
    "rates, sentence",
    [("{mktd: 2}", "perhaps you meant mkdt?"), ("{mkdt: fast}", "Expected `float`, got `str`")],
)
def test_a_recipe_with_bad_factors_is_refused(
    rates: str, sentence: str, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(path.read_text().replace("seeds: 1", f"seeds: 1, rates: {rates}"))
    with pytest.raises(DecoctError, match=r"mine\.yaml") as caught:
        load_recipe(path)
    assert sentence in str(caught.value)


def test_factors_are_flags_and_survive_a_round_trip(tiny_recipe: Recipe, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "run")]
    flags = ["--compare.rates", "ssl-random", "2", "mkdt", "0.5", "--pretrain.rate", "3"]
    assert main(["load-images", str(tmp_path / "mine.yaml"), *out, *flags]) == 0
    recipe = load_recipe(tmp_path / "run/recipe.yaml")
    assert recipe.compare.rates == {"ssl-random": 2.0, "mkdt": 0.5}
    assert recipe.pretrain.rate == 3
    assert recipe.images == tiny_recipe.images
