"""`TrainingRule`: the optimiser and the schedule that a learning rate belongs to."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from decoct.core.settings import Count, CountOrNone, Momentum, NonNegative, Positive, Settings


@dataclass(frozen=True)
class TrainingRule(Settings):
    """How a network is trained; the defaults are what the paper uses for its baselines.

    >>> print(TrainingRule(schedule="cosine", warm_up=2))
    SGD, learning rate 0.1, momentum 0.9, weight decay 0.0001, batch 256, cosine, warm-up 2 epochs
    """

    section: ClassVar[str] = "rule"

    lr: Positive = 0.1
    momentum: Momentum = 0.9  # of SGD
    weight_decay: NonNegative = 1e-4
    batch: Count = 256
    optimiser: Literal["sgd", "adam"] = "sgd"
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # how the rate falls to zero
    warm_up: CountOrNone = 0  # epochs in which the rate rises linearly from near zero

    def __str__(self) -> str:
        """The rule in one line, for people who train elsewhere."""
        sgd = self.optimiser == "sgd"
        parts = [
            "SGD" if sgd else "Adam",
            f"learning rate {self.lr:.6g}",
            f"momentum {self.momentum:g}" * sgd,
            f"weight decay {self.weight_decay:g}",
            f"batch {self.batch}",
            self.schedule * (self.schedule != "constant"),
            f"warm-up {self.warm_up} epochs" * bool(self.warm_up),
        ]
        return ", ".join(filter(None, parts))
