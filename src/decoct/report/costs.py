"""What each method costs: bytes to keep, seconds to make its set, seconds to pre-train on it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.filesize import decimal as size_text

from decoct.evaluation.scores import Scores

_COMMON = "targets"  # every method needs these, so they count for none


@dataclass(frozen=True)
class Cost:
    """A method's costs; None if unknown or not applicable."""

    method: str
    images: int | None
    bytes: int | None  # of images and targets
    steps: int | None  # of pre-training
    shared_s: float | None  # to make what all its seeds share: experts
    make_s: float | None  # to make a set, mean over seeds
    pretrain_s: float | None  # to pre-train one encoder on it, mean over seeds


def costs(
    scores: Scores,
    seconds: Mapping[str, float],
    inputs: Mapping[str, Sequence[str]] | None = None,
) -> list[Cost]:
    """Each method's costs, from a comparison's facts, its stages' seconds and their `inputs`.

    The shared part is what a method's sets are made from, without the targets and what the targets
    are made from.

    >>> facts = {"mkdt": {"images": 8, "bytes": 100, "steps": 20}}
    >>> times = {"experts": 5.0, "mkdt-seed0": 2.0, "mkdt-seed1": 4.0, "encoder-mkdt-seed0": 1.0}
    >>> cost = costs(Scores((), facts), times, {"mkdt-seed0": ["targets", "experts"]})[0]
    >>> cost.shared_s, cost.make_s, cost.pretrain_s
    (5.0, 3.0, 1.0)
    """
    return [
        Cost(
            method=method,
            images=facts.get("images"),
            bytes=facts.get("bytes"),
            steps=facts.get("steps"),
            shared_s=_sum(seconds, _shared(method, inputs or {})),
            make_s=_mean(seconds, f"{method}-seed"),
            pretrain_s=_mean(seconds, f"encoder-{method}-seed"),
        )
        for method, facts in scores.facts.items()
        if facts
    ]


def _shared(method: str, inputs: Mapping[str, Sequence[str]]) -> set[str]:
    """The stages that all of a method's sets are made from, without those that all methods need."""
    own = {label for label in inputs if label.removeprefix(f"{method}-seed").isdigit()}
    found = set().union(*(_made_from(label, inputs) for label in own))
    per_seed = {label for label in found if re.search(r"-seed\d+$", label)}
    return found - own - per_seed - _made_from(_COMMON, inputs)


def _made_from(label: str, inputs: Mapping[str, Sequence[str]]) -> set[str]:
    """A stage and everything that it is made from."""
    return {label}.union(*(_made_from(source, inputs) for source in inputs.get(label, ())))


def cost_rows(found: list[Cost]) -> list[list[str]]:
    """Header and one line per method, as text."""
    header = ["method", "images", "size", "steps", "shared, s", "to make, s", "to pre-train, s"]
    return [
        header,
        *(
            [
                cost.method,
                _number(cost.images),
                "" if cost.bytes is None else size_text(cost.bytes),
                _number(cost.steps),
                *map(_seconds, (cost.shared_s, cost.make_s, cost.pretrain_s)),
            ]
            for cost in found
        ),
    ]


def _mean(seconds: Mapping[str, float], prefix: str) -> float | None:
    found = [v for label, v in seconds.items() if label.removeprefix(prefix).isdigit()]
    return sum(found) / len(found) if found else None


def _sum(seconds: Mapping[str, float], labels: set[str]) -> float | None:
    found = [seconds[label] for label in sorted(labels) if label in seconds]
    return sum(found) if found else None


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"
