"""The paired hierarchical bootstrap: how a mean varies over seeds and, below each, draws of labels.

A resample takes as many seeds as there are, with replacement, and in each of them, task by task,
as many draws of labels. Methods share the resamples, so that a difference, or the two parts of a
ratio, are resampled together: what varies is their difference at the same seed, task and draw.

A mean's variance over all possible resamples has a closed form, so none is drawn: a sum of what
resampling seeds and resampling draws contribute. Resamples vary too little, by (n - 1) / n, and few
seeds show their own spread badly. So each contribution is divided by that factor, and intervals
take Student's quantiles at Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946). In
simulations, 95 % intervals then cover the truth 95 to 99 times in a hundred from five seeds on, and
93 to 99 times with three.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.stats

Unit = tuple[int, str, int]  # a seed, a task, and a draw of the labelled examples
Values = Mapping[Unit, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and how certain it is."""

    mean: float
    error: float  # the standard error; nan if there is nothing to resample
    freedom: float  # degrees of freedom of the error
    seeds: int

    @property
    def half_width(self) -> float:
        """Half the 95 % interval."""
        return self._quantile(0.975) * self.error

    @property
    def detectable(self) -> float:
        """The smallest true difference that excludes zero in four of five such comparisons.

        (t(0.975) + t(0.8)) standard errors: the minimum detectable effect of Bloom (Evaluation
        Review 19, 1995) at a power of 80 % and a two-sided level of 5 %.
        """
        return (self._quantile(0.975) + self._quantile(0.8)) * self.error

    def _quantile(self, probability: float) -> float:
        return float(scipy.stats.t.ppf(probability, self.freedom)) if self.error else 0.0


def bootstrap(values: Values) -> Estimate:
    """The mean over seeds of their means over tasks and draws, with its bootstrap error.

    With one seed only its draws are resampled: the error says nothing about other seeds.

    >>> bootstrap({(0, "emoji", 0): 1.0, (1, "emoji", 0): 3.0})  # no draws below the seeds
    Estimate(mean=2.0, error=1.0, freedom=1.0, seeds=2)
    """
    by_seed = _grouped(values)
    means = [float(np.mean([v for draws in tasks for v in draws])) for tasks in by_seed]
    count = len(means)
    # what each source of variance contributes, and the degrees of freedom that it is known with
    parts = [(float(np.var(means, ddof=1)) / count, count - 1)] if count > 1 else []
    for tasks in by_seed:
        total = count * sum(map(len, tasks))
        parts += [
            (len(draws) * float(np.var(draws, ddof=1)) / total**2, len(draws) - 1)
            for draws in tasks
            if len(draws) > 1
        ]
    mean, variance = float(np.mean(means)), sum(part for part, _ in parts)
    if not parts:
        return Estimate(mean, math.nan, math.nan, count)
    # Of two seeds the spread is hardly known, and Satterthwaite's rule would trust it too much.
    spread = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / spread if spread and count != 2 else float(max(1, count - 1))
    return Estimate(mean, math.sqrt(variance), freedom, count)


def _grouped(values: Values) -> list[list[list[float]]]:
    """The draws' values by seed and task."""
    found: dict[int, dict[str, list[float]]] = {}
    for (seed, task, _), value in values.items():
        found.setdefault(seed, {}).setdefault(task, []).append(value)
    return [list(tasks.values()) for tasks in found.values()]
