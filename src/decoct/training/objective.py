"""The self-supervised objective: a loss of the network's outputs for two views of an image."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from decoct.core import ranks
from decoct.core.settings import Settings, Width
from decoct.core.shapes import ByChannel, Pictures, Scalar
from decoct.data.augment import AugmentConfig, differentiable_augmenter
from decoct.training.losses.barlow_twins import barlow_twins_loss
from decoct.training.losses.simclr import simclr_loss
from decoct.training.losses.spectral_contrastive import spectral_contrastive_loss
from decoct.training.losses.vicreg import vicreg_loss

Algorithm = Literal["barlow_twins", "simclr", "vicreg", "spectral_contrastive"]
Loss = Callable[[Tensor, Tensor], Tensor]
SSL_LOSSES: dict[str, Loss] = {
    "barlow_twins": barlow_twins_loss,
    "simclr": simclr_loss,
    "vicreg": vicreg_loss,
    "spectral_contrastive": spectral_contrastive_loss,
}


@dataclass(frozen=True)
class Objective(Settings):
    """A self-supervised loss, its augmentations, and the width of the outputs that it compares.

    The projector is the network's own head, linear and without batch norm. So everything that
    trains is a parameter of the network, as trajectory matching requires.
    """

    section: ClassVar[str] = "objective"

    algorithm: Algorithm = "barlow_twins"  # the self-supervised loss
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    projector: Width = 128  # outputs of the network's head


def of_ranks(outputs: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Both views' outputs for the `count` images of a batch, of which each rank has its rows.

    The outputs of this rank are those for the first views of its rows, then for the second ones.

    >>> first, second = of_ranks(torch.arange(4.0), count=2)
    >>> second
    tensor([2., 3.])
    """
    first, second = outputs.chunk(2)
    return ranks.joined(first, count), ranks.joined(second, count)


@runtime_checkable
class ViewLoss(Protocol):
    """What `view_loss` returns."""

    def __call__(
        self,
        network: Callable[[Tensor], Tensor],
        images: Pictures,
        *,
        count: int | None = None,
    ) -> Scalar:
        """The loss; with `count`, of a batch of so many images, of which these are this rank's."""


def view_loss(objective: Objective, *, mean: ByChannel, std: ByChannel, size: int) -> ViewLoss:
    """The loss of a network on two views of each image, all in one batch; differentiable in both.

    The images are normalised by `mean` and `std` (C). It draws from torch's global generator, so
    call it inside `seeding.seeded`.

    >>> loss = view_loss(Objective(), mean=torch.zeros(1), std=torch.ones(1), size=8)
    >>> loss(lambda views: views.flatten(1), torch.rand(4, 1, 8, 8)).shape
    torch.Size([])
    """
    views = differentiable_augmenter(objective.augment, mean=mean, std=std, size=size)
    of_two = SSL_LOSSES[objective.algorithm]

    def loss(
        network: Callable[[Tensor], Tensor], images: Pictures, *, count: int | None = None
    ) -> Scalar:
        outputs = network(torch.cat([views(images, count=count), views(images, count=count)]))
        return of_two(*(outputs.chunk(2) if count is None else of_ranks(outputs, count=count)))

    return loss
