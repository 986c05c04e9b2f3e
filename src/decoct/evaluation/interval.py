"""`Interval`: a mean with its 95 % interval, and what the two say about a difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from decoct.evaluation.bootstrap import Values, bootstrap


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95 % interval; nan where there is nothing to resample.

    >>> Interval.of([1.0, 2.0, 3.0]).mean
    2.0
    """

    mean: float
    half_width: float
    detectable: float = math.nan  # the smallest true difference that it would likely have found
    one_seed: bool = False  # then the interval says nothing about other seeds

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The interval of independent values, one per seed: without draws, Student's t."""
        return cls.of_units({(seed, "", 0): value for seed, value in enumerate(values)})

    @classmethod
    def of_units(cls, values: Values) -> Self:
        """Of values by seed, task and draw of labels, by the hierarchical bootstrap."""
        found = bootstrap(values)
        one = found.seeds == 1
        if math.isnan(found.error):
            return cls(found.mean, math.nan, one_seed=one)
        return cls(found.mean, found.half_width, found.detectable, one)

    @classmethod
    def of_ratio(cls, parts: Values, wholes: Values) -> Self:
        """The ratio of two means whose units are resampled together (the delta method).

        >>> units = [(0, "emoji", 0), (1, "emoji", 0)]
        >>> Interval.of_ratio(dict(zip(units, [1.0, 2.0])), dict(zip(units, [2.0, 4.0]))).share()
        '0.50 ± 0.00'
        """
        whole = bootstrap(wholes).mean
        ratio = bootstrap(parts).mean / whole
        left = cls.of_units({unit: parts[unit] - ratio * wholes[unit] for unit in parts})
        width = left.half_width / abs(whole)
        return cls(ratio, width, left.detectable / abs(whole), left.one_seed)

    def __str__(self) -> str:
        return f"{self.mean:.1f}{self._width()}"

    def share(self) -> str:
        """As text, for a fraction of 1.

        >>> Interval(mean=0.512, half_width=0.1).share()
        '0.51 ± 0.10'
        """
        return f"{self.mean:.2f}{self._width(2)}"

    def signed(self) -> str:
        """As text, for a difference, with its sign.

        >>> Interval(mean=1.25, half_width=0.5).signed()
        '+1.2 ± 0.5'
        """
        return f"{self.mean:+.1f}{self._width()}"

    def _width(self, digits: int = 1) -> str:
        return "" if math.isnan(self.half_width) else f" ± {self.half_width:.{digits}f}"

    @property
    def excludes_zero(self) -> bool:
        """Whether this interval of a difference rules out that it is noise."""
        return abs(self.mean) > self.half_width


def mark(over: Interval) -> str:
    """How certain a difference is.

    >>> mark(Interval(1.0, 0.5)), mark(Interval(-1.0, 2.0)), mark(Interval.of([1.0]))
    ('above', 'within noise', 'one seed')
    """
    if over.one_seed or math.isnan(over.half_width):
        return "one seed"
    if not over.excludes_zero:
        return "within noise"
    return "above" if over.mean > 0 else "below"


def is_sure(over: Interval) -> bool:
    """Whether a difference is neither noise nor from a single seed."""
    return mark(over) in ("above", "below")
