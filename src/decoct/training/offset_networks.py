"""Train the networks that say how the target of an image changes when the image is turned."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from decoct.artefacts.offset_networks import OffsetNetworks
from decoct.core import seeding
from decoct.core.console import progress
from decoct.core.errors import DivergedError


def fit_offsets(
    coefficients: Float[Tensor, "image number"],
    offsets: Float[Tensor, "view image number"],
    *,
    hidden: int,
    epochs: int,
    lr: float,
    seed: int,
) -> OffsetNetworks:
    """Networks that predict each view's offsets from the coefficients of the images' targets.

    Adam on the mean squared error over all images at once. A view's network starts as torch's
    linear layers do. Raises `DivergedError` if the error becomes non-finite.

    >>> x = torch.randn(50, 3)
    >>> found = fit_offsets(x, torch.stack([x, -x]), hidden=8, epochs=500, lr=0.01, seed=0)
    >>> bool((found(x) - torch.stack([x, -x])).square().mean() < 0.1)
    True
    """
    networks = _fresh(len(offsets), coefficients, hidden=hidden, seed=seed)
    weights = networks.tensors()
    optimiser = torch.optim.Adam(weights.values(), lr=lr)
    with progress("networks of the turned targets, epochs", total=epochs) as advance:
        for _ in range(epochs):
            error = (networks(coefficients) - offsets).square().mean((1, 2))
            optimiser.zero_grad()
            error.sum().backward()  # a sum, so that the views do not depend on one another
            optimiser.step()
            advance(f"error {error.mean().item():.4g}")
    if not all(bool(t.isfinite().all()) for t in weights.values()):
        raise DivergedError(
            "the networks of the turned targets diverged; lower their learning rate"
        )
    return OffsetNetworks(**{name: t.detach() for name, t in weights.items()})


def _fresh(views: int, like: Tensor, *, hidden: int, seed: int) -> OffsetNetworks:
    """Untrained networks, of the type and on the device of `like` (m x V)."""
    width = like.shape[1]
    with seeding.seeded(seed, "offset networks"):
        first = [nn.Linear(width, hidden) for _ in range(views)]
        last = [nn.Linear(hidden, width) for _ in range(views)]

    def stacked(parts: list[Tensor]) -> Tensor:
        return torch.stack([part.detach() for part in parts]).to(like).requires_grad_()

    return OffsetNetworks(
        weights_in=stacked([layer.weight for layer in first]),
        biases_in=stacked([layer.bias for layer in first]),
        weights_out=stacked([layer.weight for layer in last]),
        biases_out=stacked([layer.bias for layer in last]),
    )
