"""Estimate how long a recipe takes: measure each unit of work, multiply by its count."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch

from decoct.methods.sizes import Sizes
from decoct.methods.units import Bench, Unit
from decoct.run.stage import Stage


def stage_seconds(
    stages: Iterable[Stage[Any]], sizes: Sizes, device: torch.device
) -> dict[str, float]:
    """Seconds by sort of stage: the measured time per unit of work, times the number of units."""
    bench, known = Bench(sizes, device), dict[Unit, float]()
    found: Counter[str] = Counter()
    for stage in stages:
        for unit, count in stage.work(sizes).items():
            if unit not in known:
                known[unit] = unit.seconds(bench)
            found[stage.sort or stage.name] += count * known[unit]  # type: ignore[assignment]
    return dict(found)
