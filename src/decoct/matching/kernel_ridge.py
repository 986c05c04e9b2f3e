"""Kernel ridge regression in closed form, with gradients."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from decoct.core.shapes import Features, Pictures, Rows, Scalar
from decoct.models.network import Network


def exact(values: Tensor) -> Tensor:
    """The same numbers in float64; moved to the CPU from Apple's GPU, which has no float64.

    With KRR-ST's ridge the kernel's condition number is up to a million: of float32's seven digits
    only one would be correct.
    """
    values = values.cpu() if values.device.type == "mps" else values
    return values.double()


def with_bias(features: Features) -> Float[Tensor, "image feature+1"]:
    """Append a column of ones to B x F features: B x (F + 1).

    >>> with_bias(torch.zeros(1, 2))
    tensor([[0., 0., 1.]])
    """
    return torch.cat([features, torch.ones_like(features[:, :1])], 1)


def ridge_penalty(synthetic: Features, *, ridge: float) -> Scalar:
    """The penalty ridge tr(K_ss) of m x F features; constant for autograd, as released.

    >>> ridge_penalty(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), ridge=0.5)
    tensor(3.)
    """
    return ridge * synthetic.detach().square().sum()  # the trace of F F^T


def predict(
    real: Float[Tensor, "real feature"], synthetic: Features, targets: Rows, *, penalty: Scalar
) -> Float[Tensor, "real dimension"]:
    """K_rs (K_ss + penalty I)^-1 Y_s: B x D, from B x F and m x F features and m x D targets.

    K_ab is F_a F_b^T. Non-finite inputs give non-finite outputs; nothing is raised.

    >>> x, y = torch.eye(2), torch.tensor([[2.0], [4.0]])
    >>> predict(x, x, y, penalty=torch.tensor(1.0)).flatten()
    tensor([1., 2.])
    """
    kernel = synthetic @ synthetic.t()
    eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    root = torch.linalg.cholesky_ex(kernel + penalty * eye).L
    return (real @ synthetic.t()) @ torch.cholesky_solve(targets, root)


def outer_gradient(
    network: Network,
    images: Pictures,
    targets: Rows,
    *,
    real: Float[Tensor, "real channel height width"],
    goal: Float[Tensor, "real dimension"],
    ridge: float,
) -> tuple[Scalar, Pictures, Rows]:
    """The loss (scalar), and its gradients for images (m x C x H x W) and targets (m x D).

    The loss is the mean squared error between `goal` (B x D) and the prediction, by regression from
    (images, targets), for `real` (B x C x H x W). `network` must be in eval mode.
    """
    x, y = images.detach().requires_grad_(), targets.detach().requires_grad_()
    with torch.no_grad():
        seen = with_bias(exact(network.features(real)))
    synthetic = with_bias(exact(network.features(x)))
    penalty = ridge_penalty(synthetic, ridge=ridge)
    loss = F.mse_loss(predict(seen, synthetic, exact(y), penalty=penalty), exact(goal))
    slopes = torch.autograd.grad(loss, [x, y])
    return loss.detach(), slopes[0], slopes[1]
