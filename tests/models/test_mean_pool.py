"""Halving a picture is what torch's average pooling does, by whichever way it is computed."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.models.mean_pool import MeanPool, _has_fast_convolution


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 5, 7, 4), (3, 1, 2, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchs_pooling_forward_and_backward(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    """An odd row or column is left out by both."""
    x = torch.randn(shape).to(memory_format=memory_format)
    found, expected = slopes(MeanPool(), x), slopes(partial(F.avg_pool2d, kernel_size=2), x)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def slopes(pool: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output, a loss's gradient, and the gradient of that gradient's length."""
    x = x.clone().requires_grad_()
    y = pool(x)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return y.detach(), first.detach(), second


def test_only_single_precision_on_a_cpu_is_a_convolution() -> None:
    """oneDNN has no double precision, and gradients are checked in that."""
    assert _has_fast_convolution(torch.ones(1, 1, 2, 2)) == torch.backends.mkldnn.is_available()
    assert not _has_fast_convolution(torch.ones(1, 1, 2, 2, dtype=torch.float64))
    assert not _has_fast_convolution(torch.ones(1, 1, 2, 2, device="meta"))


def test_what_is_exported_pools_as_every_format_knows_it() -> None:
    traced = torch.jit.trace(MeanPool(), torch.ones(1, 2, 4, 4))
    assert "avg_pool2d" in str(traced.graph)
    exported = torch.export.export(MeanPool(), (torch.ones(1, 2, 4, 4),))
    assert "avg_pool2d" in str(exported.graph)
