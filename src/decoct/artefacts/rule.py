"""`TrainingRule`: the optimiser and the schedule that a learning rate belongs to."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from decoct.core.settings import Count, CountOrNone, Momentum, NonNegative, Positive, Settings

Kind = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["constant", "linear", "cosine"]
_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}
_WITH_MOMENTUM = ("sgd", "muon")


@dataclass(frozen=True)
class TrainingRule(Settings):
    """How a network is trained; the defaults are what the paper uses for its baselines.

    >>> print(TrainingRule(schedule="cosine", warm_up=2))
    SGD, learning rate 0.1, momentum 0.9, weight decay 0.0001, batch 256, cosine, warm-up 2 epochs
    """

    section: ClassVar[str] = "rule"

    lr: Positive = 0.1  # the highest that the schedule reaches
    momentum: Momentum = 0.9  # of SGD and Muon
    weight_decay: NonNegative = 1e-4  # of all weights
    batch: Count = 256  # images in a step
    optimiser: Kind = "sgd"  # its rate is lr
    schedule: Schedule = "constant"  # how the rate falls to zero
    warm_up: CountOrNone = 0  # epochs in which the rate rises linearly from near zero

    def __str__(self) -> str:
        """The rule in one line, for people who train elsewhere."""
        parts = [
            _NAMES[self.optimiser],
            f"learning rate {self.lr:.6g}",
            f"momentum {self.momentum:g}" * (self.optimiser in _WITH_MOMENTUM),
            f"weight decay {self.weight_decay:g}",
            f"batch {self.batch}",
            self.schedule * (self.schedule != "constant"),
            f"warm-up {self.warm_up} epochs" * bool(self.warm_up),
        ]
        return ", ".join(filter(None, parts))

    def by(self, optimiser: Kind) -> Self:
        """The same batches and weight decay with another optimiser, at its usual rate and schedule.

        >>> print(TrainingRule(batch=64).by("muon"))
        Muon, learning rate 0.05, momentum 0.9, weight decay 0.0001, batch 64, linear
        """
        lr, schedule = _USUAL[optimiser]
        return replace(self, optimiser=optimiser, lr=lr, momentum=0.9, schedule=schedule, warm_up=0)


# The rate and the schedule of each optimiser: SGD's are the paper's
_USUAL: dict[Kind, tuple[float, Schedule]] = {
    "sgd": (0.1, "constant"),
    "adam": (1e-3, "linear"),
    "adamw": (3e-3, "linear"),
    "muon": (0.05, "linear"),
}
