"""The images that students find hardest (MKDT, section 5.2)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from decoct.core.place import Place
from decoct.core.shapes import Index, PerImage
from decoct.methods.inputs import Inputs
from decoct.methods.real_images import RealImages


def high_loss_subset(*, difficulty: PerImage, count: int) -> Index:
    """The `count` indices of highest difficulty (N floats): int64, sorted.

    >>> import torch
    >>> high_loss_subset(difficulty=torch.tensor([0.1, 0.9, 0.5]), count=2)
    tensor([1, 2])
    """
    return difficulty.topk(count).indices.sort().values


@dataclass(frozen=True)
class HighLoss(RealImages):
    """The paper's initialisation."""

    name: ClassVar[str] = "high-loss"
    summary: ClassVar[str] = "the real images that experts find hardest"
    paper: ClassVar[str] = "Joshi, Ni & Mirzasoleiman, ICLR 2025, section 5.2"

    def needs(self) -> tuple[str, ...]:
        """The difficulty, which the experts measure."""
        return ("images", "targets", "difficulty")

    def choose(self, inputs: Inputs, place: Place) -> Tensor:
        """Choose the hardest images."""
        return high_loss_subset(difficulty=inputs.difficulty, count=inputs.count)
