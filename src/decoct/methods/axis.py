"""`Axis`: one setting that an ablation varies, while all else stays as the recipe has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Values = Callable[[Any], tuple[Any, ...]]  # tried unless one says otherwise, of the recipe's own


@dataclass(frozen=True)
class Axis:
    """A setting of the recipe by its path, and the values that it takes in turn."""

    name: str
    what: str  # in a phrase
    setting: str  # matching.inner_steps
    values: Values
    learnt: bool = False  # a learning rate: it is there ("learnt") or 0 ("fixed")


def one_of(*values: Any) -> Values:
    """The same values for every recipe."""
    return lambda own: values


def scaled(*factors: float) -> Values:
    """Multiples of the recipe's own value, whole and at least 1.

    >>> scaled(0.5, 1, 2)(3)
    (1, 3, 6)
    """
    return lambda own: tuple(max(1, int(own * factor)) for factor in factors)
