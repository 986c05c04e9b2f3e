"""Estimate how long a recipe takes: measure each unit of work, multiply by its count."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from decoct.methods.sizes import Sizes
from decoct.methods.units import Bench, Unit
from decoct.run.stage import Stage


def stage_seconds(
    stages: Iterable[Stage[Any]], sizes: Sizes, device: torch.device
) -> dict[str, float]:
    """Seconds by sort of stage: the measured time per unit of work, times the number of units."""
    stages = list(stages)
    return by_sort(stages, seconds_by_name(stages, sizes, device))


def seconds_by_name(
    stages: Iterable[Stage[Any]], sizes: Sizes, device: torch.device
) -> dict[str, float]:
    """As `stage_seconds`, of each stage that has work to do."""
    bench, known = Bench(sizes, device), dict[Unit, float]()
    found: Counter[str] = Counter()
    for stage in stages:
        for unit, count in stage.work(sizes).items():
            if unit not in known:
                known[unit] = unit.seconds(bench)
            found[stage.name] += count * known[unit]  # type: ignore[assignment]
    return dict(found)


def by_sort(stages: Iterable[Stage[Any]], seconds: Mapping[str, float]) -> dict[str, float]:
    """The seconds of stages, added up by their sorts."""
    found: Counter[str] = Counter()
    for stage in stages:
        if stage.name in seconds:
            found[stage.sort or stage.name] += seconds[stage.name]  # type: ignore[assignment]
    return dict(found)
