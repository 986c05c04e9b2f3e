"""`Axis`: one setting that an ablation varies while the others stay as in the recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Values = Callable[[Any], tuple[Any, ...]]  # maps the recipe's own value to the default values


@dataclass(frozen=True)
class Axis:
    """A setting of the recipe, named by its path, and the values to try."""

    name: str
    what: str  # a short description
    setting: str  # matching.inner_steps
    values: Values
    learnt: bool = False  # a learning rate: either nonzero ("learnt") or 0 ("fixed")


def one_of(*values: Any) -> Values:
    """The same values for every recipe."""
    return lambda own: values


def scaled(*factors: float) -> Values:
    """Multiples of the recipe's own value, rounded, at least 1.

    >>> scaled(0.5, 1, 2)(3)
    (1, 3, 6)
    """
    return lambda own: tuple(max(1, int(own * factor)) for factor in factors)
