"""A network that ranks train together: each sees its rows of a batch; all take the same step."""

import warnings

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from decoct.core import ranks
from decoct.models.synchronised import Synchronised


def divided(network: nn.Module) -> nn.Module:
    """What computes the outputs of this rank's rows; its gradient is the mean over ranks.

    Batch norm has the statistics of all rows. A rank may have none. On one process, the network.
    What a network draws (dropout, stochastic depth) is not what it would draw on one process.
    """
    if ranks.world() == 1:
        return network
    # Of networks in channels-last; it costs a copy of small weights.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(_OwnRows(network))


def of_batch(mean: Tensor, *, rows: int, count: int) -> Tensor:
    """Of the mean over a batch of `count` rows, this rank's part, given the mean over its own.

    The mean over ranks of what it returns is the mean over the batch.

    >>> import torch
    >>> of_batch(torch.tensor(3.0), rows=4, count=4)
    tensor(3.)
    """
    if not rows:
        mean = mean.nan_to_num()  # a mean over no rows
    return mean * (ranks.world() * rows / count)


class _OwnRows(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with Synchronised(counted=len(images) > 0):
            if len(images):
                return self.network(images)  # type: ignore[no-any-return]
            # Not every network takes an empty batch, but all ranks must go through it in step.
            return self.network(images.new_zeros(1, *images.shape[1:]))[:0]  # type: ignore[no-any-return]
