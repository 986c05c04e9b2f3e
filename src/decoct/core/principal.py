"""Principal directions: the eigenvectors of a scatter matrix, in an order and with signs."""

import torch
from jaxtyping import Float
from torch import Tensor


def principal_directions(
    scatter: Float[Tensor, "feature feature"], count: int
) -> Float[Tensor, "feature {count}"]:
    """The `count` directions of largest variance as columns: F x F to F x count.

    `scatter` is X^T X of centred rows X. The largest entry of a direction is positive, so the
    sign does not depend on the solver.

    >>> principal_directions(torch.tensor([[4.0, 0.0], [0.0, 9.0]]), 1)
    tensor([[0.],
            [1.]])
    """
    _, vectors = torch.linalg.eigh(scatter)
    directions = vectors.flip(1)[:, :count]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    signed: Tensor = directions * largest.sign()
    return signed
