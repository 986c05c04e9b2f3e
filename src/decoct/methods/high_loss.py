"""The images that students find hardest (MKDT, section 5.2)."""

from torch import Tensor


def high_loss_subset(*, difficulty: Tensor, count: int) -> Tensor:
    """The `count` indices of highest difficulty (N floats): int64, sorted.

    >>> import torch
    >>> high_loss_subset(difficulty=torch.tensor([0.1, 0.9, 0.5]), count=2)
    tensor([1, 2])
    """
    return difficulty.topk(count).indices.sort().values
