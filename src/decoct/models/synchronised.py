"""Batch norm whose statistics are those of the whole batch, of which each rank has its rows.

torch's own, `SyncBatchNorm`, refuses tensors on a CPU, and timm's layers need another; this works
wherever a layer asks `torch.nn.functional` for its batch norm, and leaves the layers as they are.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from decoct.core import ranks


class Synchronised(TorchFunctionMode):
    """Inside the block, batch norm in training normalises by the rows of all ranks.

    All ranks must be in such a block, in the same network. Rows that are not `counted` are
    normalised, too, but the statistics are of the others only.
    """

    def __init__(self, *, counted: bool = True) -> None:
        super().__init__()
        self.counted = counted

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs or {})
        return func(*args, **kwargs or {})

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """As torch's, whose arguments these are: x is B x C, or B x C x ..."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
        count, mean, variance = _statistics(x.detach()[: len(x) if self.counted else 0])
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * (count / (count - 1)), momentum)
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
        found: Tensor = _Normalised.apply(  # type: ignore[no-untyped-call]
            x, weight, bias, mean, variance, eps, count if self.counted else None
        )
        return found


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The count, and by channel the mean and the biased variance, of the rows of all ranks."""
    over, by_channel = _dimensions(x)
    count = x.new_tensor([len(x) * x[0, 0].numel() if len(x) else 0])
    mean = x.sum(over) / count.clamp_min(1)
    deviations = (x - mean.view(by_channel)).square_().sum(over)
    own = torch.cat([count, mean, deviations])
    of_ranks = torch.stack(ranks.in_order([own], total=ranks.world(), like=own))
    counts, (means, squares) = of_ranks[:, :1], of_ranks[:, 1:].chunk(2, dim=1)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    return total, mean, (squares + counts * (means - mean).square()).sum(0) / total


def _dimensions(x: Tensor) -> tuple[list[int], list[int]]:
    """Those that statistics are taken over, and the shape of a number for each channel."""
    return [d for d in range(x.dim()) if d != 1], [1, -1, *[1] * (x.dim() - 2)]


class _Normalised(torch.autograd.Function):
    """Normalise by the statistics, through which a gradient comes back where the rows count."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.count = eps, count
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        slope, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            slopes[0], x, weight, mean, variance, None, None, False, ctx.eps, [True] * 3
        )
        through_deviation, through_mean = ranks.total(torch.stack([of_weight, of_bias]))
        if ctx.count is not None:
            # (x - mean) / deviation is what the slope of `weight` is the sum over slopes of
            by_channel = _dimensions(x)[1]
            inverse = torch.rsqrt(variance + ctx.eps)
            factor = -weight * inverse.square() * through_deviation / ctx.count
            constant = -weight * inverse * through_mean / ctx.count - factor * mean
            slope.addcmul_(x, factor.view(by_channel)).add_(constant.view(by_channel))
        return slope, of_weight, of_bias, None, None, None, None
