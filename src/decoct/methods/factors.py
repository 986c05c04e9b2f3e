"""The bases and coefficients that Boost-SSDD learns, and their gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from decoct.artefacts.factored import TURNS, FactoredShape, render, turned
from decoct.core import seeding
from decoct.core.shapes import Index, Pictures, Rows, Scalar
from decoct.data.images import Images
from decoct.matching.kernel_ridge import outer_gradient
from decoct.matching.mean_and_directions import (
    coefficients_of,
    pool_bases,
    shrunk,
    shrunk_pool,
)
from decoct.methods.regression_loop import Learnt, Slopes
from decoct.models.network import Network

Turned = Float[Tensor, "view pool dimension"]  # targets of the pool's images in each view


def starting_point(
    images: Images, goals: Turned, index: Index, *, shape: FactoredShape, small: int
) -> dict[str, Tensor]:
    """The pool's mean and principal directions, and what the images at `index` are in them.

    Bases of images have `small` pixels. Bases of targets are those of upright images.
    """
    image_bases = pool_bases(shrunk_pool(images, small), shape.image_bases)
    target_bases = pool_bases([goals[0].cpu()], shape.target_bases)
    chosen = shrunk(images.normalised(index).cpu(), small).flatten(1)
    found = {
        "image_bases": image_bases.unflatten(1, (images.channels, small, small)),
        "image_coefficients": coefficients_of(chosen, image_bases),
        "target_bases": target_bases,
    }
    for turns, values in enumerate(goals.cpu()):
        found[coefficients(turns)] = coefficients_of(values[index], target_bases)
    return found


def coefficients(turns: int) -> str:
    """The variable that holds the coefficients of the targets in one view.

    >>> coefficients(3)
    'target_coefficients.3'
    """
    return f"target_coefficients.{turns}"


class Factors(Learnt):
    """Bases and coefficients. A regression is in one view; a network trains on all of them.

    With `support`, a regression takes as many images, drawn at random, and a network's step as many
    views.
    """

    def __init__(
        self,
        variables: dict[str, Tensor],
        goals: Turned,
        *,
        size: int,
        ridge: float,
        support: int,
        stage: str,
        seed: int,
    ) -> None:
        self.variables, self.goals = variables, goals
        self.size, self.ridge, self.support = size, ridge, support
        self.stage, self.seed = stage, seed

    def gradient(
        self, network: Network, real: Pictures, index: Index, *, iteration: int
    ) -> tuple[Scalar, Slopes]:
        """The loss in one view, drawn, in which the real images are turned too."""
        draws = seeding.generator(self.seed, self.stage, iteration, "view")
        turns = int(torch.randint(TURNS, (), generator=draws))
        rows = self._draw(len(self.variables["image_coefficients"]), draws)
        names = ("image_bases", "image_coefficients", "target_bases", coefficients(turns))
        leaves = {n: self.variables[n].detach().requires_grad_() for n in names}
        a, b, c, d = leaves.values()
        shown, told = turned(render(b[rows], a, size=self.size), turns), d[rows] @ c
        loss, images, targets = outer_gradient(
            network,
            shown,
            told,
            real=turned(real, turns),
            goal=self.goals[turns][index],
            ridge=self.ridge,
        )
        slopes = torch.autograd.grad([shown, told], list(leaves.values()), [images, targets])
        return loss, dict(zip(leaves, slopes, strict=True))

    def training_batch(self, *step: str | int) -> tuple[Pictures, Rows]:
        """All views and their targets, or `support` of them."""
        draws = seeding.generator(self.seed, self.stage, *step, "views")
        m = len(self.variables["image_coefficients"])
        parts = self._draw(TURNS * m, draws)
        views = [self._view(parts[parts // m == turns] % m, turns) for turns in range(TURNS)]
        images, targets = zip(*views, strict=True)
        return torch.cat(images), torch.cat(targets)

    def _view(self, rows: Index, turns: int) -> tuple[Pictures, Rows]:
        """Some images in one view, and their targets in it."""
        of = self.variables
        upright = render(of["image_coefficients"][rows], of["image_bases"], size=self.size)
        return turned(upright, turns), of[coefficients(turns)][rows] @ of["target_bases"]

    def _draw(self, total: int, draws: torch.Generator) -> Index:
        """All of `total` in order, or `support` of them."""
        found = torch.arange(total)
        if 0 < self.support < total:
            found = torch.randperm(total, generator=draws)[: self.support]
        return found.to(self.goals.device)
