"""The rule that a set carries survives saving and loading, and prints for people."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.rule import TrainingRule
from decoct.core.errors import DecoctError

RULE = TrainingRule(
    lr=0.1234567890123,
    momentum=0.5,
    weight_decay=1e-30,
    batch=7,
    optimiser="adam",
    schedule="cosine",
    warm_up=3,
)


def test_the_default_is_what_the_paper_gives_its_baselines() -> None:
    assert asdict(TrainingRule()) == {
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "batch": 256,
        "optimiser": "sgd",
        "schedule": "constant",
        "warm_up": 0,
    }


@pytest.mark.parametrize("rule", [RULE, TrainingRule()])
def test_a_set_brings_its_rule_back_to_the_bit(rule: TrainingRule, tmp_path: Path) -> None:
    DistilledSet(
        images=torch.rand(2, 3, 8, 8),
        targets=torch.rand(2, 4),
        mean=torch.zeros(3),
        std=torch.ones(3),
        rule=rule,
        method="test",
    ).save(tmp_path / "d.safetensors")
    assert load_distilled(tmp_path / "d.safetensors").rule == rule


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"lr": 0.0}, "lr is 0; it must be above 0"),
        ({"momentum": 1.0}, "momentum is 1; it must be at least 0 and below 1"),
        ({"weight_decay": -1e-9}, "weight_decay is -1e-09; it must be at least 0"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"optimiser": "lion"}, "optimiser is 'lion'; it must be sgd or adam or adamw or muon"),
        ({"schedule": "step"}, "schedule is 'step'; it must be constant or linear or cosine"),
        ({"warm_up": -1}, "warm_up is -1; it must be at least 0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(DecoctError) as error:
        TrainingRule(**bad)
    assert str(error.value) == f"rule.{message}"


def test_in_a_line_it_says_what_differs_between_optimisers_and_no_more() -> None:
    assert str(RULE) == (
        "Adam, learning rate 0.123457, weight decay 1e-30, batch 7, cosine, warm-up 3 epochs"
    )
    plain = replace(RULE, optimiser="sgd", schedule="constant", warm_up=0)
    assert str(plain) == "SGD, learning rate 0.123457, momentum 0.5, weight decay 1e-30, batch 7"
