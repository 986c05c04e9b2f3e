"""`TrainingRule`: the optimiser and the schedule that a learning rate belongs to."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from decoct.core.settings import Count, CountOrNone, Momentum, NonNegative, Positive, Settings


@dataclass(frozen=True)
class TrainingRule(Settings):
    """How a network is trained; the default is what the paper gives its baselines."""

    section: ClassVar[str] = "rule"

    lr: Positive = 0.1
    momentum: Momentum = 0.9  # of SGD
    weight_decay: NonNegative = 1e-4
    batch: Count = 256
    optimiser: Literal["sgd", "adam"] = "sgd"
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # how the rate falls to zero
    warm_up: CountOrNone = 0  # epochs in which the rate rises from almost nothing
