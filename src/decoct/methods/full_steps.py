"""All images with their targets, for as many steps as training on a small set takes."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.methods.full import Full


@dataclass(frozen=True)
class FullSteps(Full):
    """What all images are worth when time is short."""

    name: ClassVar[str] = "full-steps"
    summary: ClassVar[str] = "all images with their targets, for as many steps as a small set"
    as_many_steps_as: ClassVar[str] = Full.name
