"""All images with their targets, for as many steps as a small set is trained on."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.methods.full import Full


@dataclass(frozen=True)
class FullSteps(Full):
    """What many images are worth where time is short."""

    name: ClassVar[str] = "full-steps"
    summary: ClassVar[str] = "all images with their targets, for as many steps as a small set"
    as_many_steps_as: ClassVar[str] = Full.name
