"""The gradient of trajectory matching: through T steps of SGD, at the memory of one.

The inner loop is theta_{t+1} = theta_t - lr * grad l(theta_t; x_t, y_t), from an expert's
parameters theta_0; its loss is L = |theta_T - theta*|^2 / |theta_0 - theta*|^2 (MKDT, section 4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from decoct.models.network import Network

# (flat parameters P, images B x C x H x W, targets B x D) to a scalar
FlatLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class MatchingGradient:
    """The matching loss and its gradient for all that is learnt."""

    loss: Tensor  # scalar
    images: Tensor  # m x C x H x W
    targets: Tensor  # m x D
    lr: Tensor  # scalar


def distillation_loss(network: Network) -> FlatLoss:
    """Mean squared error of `network`, as a function of its parameters in one vector.

    The vector's order is that of `torch.nn.utils.parameters_to_vector`.
    """
    names, shapes = zip(*((n, p.shape) for n, p in network.named_parameters()), strict=True)
    sizes = [shape.numel() for shape in shapes]

    def loss(theta: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        parts = theta.split(sizes)
        parameters = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return F.mse_loss(functional_call(network, parameters, (images,)), targets)

    return loss


def matching_loss(end: Tensor, start: Tensor, goal: Tensor) -> Tensor:
    """|end - goal|^2 / |start - goal|^2 of parameter vectors: 1 where nothing was learnt."""
    return (end - goal).square().sum() / (start - goal).square().sum()


def train(
    loss: FlatLoss,
    start: Tensor,
    images: Tensor,
    targets: Tensor,
    lr: Tensor,
    batches: Sequence[Tensor],
) -> list[Tensor]:
    """theta_0 ... theta_T of plain SGD, a step for each of `batches` (indices, int64)."""
    path = [start]
    for index in batches:
        theta = path[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(theta, images[index], targets[index]), theta)
        path.append(path[-1] - lr * gradient)
    return path


def matching_gradient(
    loss: FlatLoss,
    *,
    start: Tensor,
    goal: Tensor,
    images: Tensor,
    targets: Tensor,
    lr: Tensor,
    batches: Sequence[Tensor],
    keep_graphs: int = 0,
) -> MatchingGradient:
    """The exact gradient by a backward sweep with the adjoint lambda = dL / dtheta.

    Forward, only the T parameter vectors are kept. Backward, with g = grad l(theta_t; x_t, y_t):

        (h, dx, dy) = grad_{theta, x, y} <g, lambda>
        dL/dlr -= <g, lambda>,  dL/dx_t -= lr dx,  dL/dy_t -= lr dy,  lambda -= lr h

    The sweep computes each g a second time: 12 convolutions a layer and step, the plain unroll 9.
    The last `keep_graphs` steps keep theirs instead, for memory that grows with their number.
    Equal to `matching_gradient_reference`, whose memory grows with T.
    """
    images, targets, lr = images.detach(), targets.detach(), lr.detach()
    flat = batches[: max(0, len(batches) - keep_graphs)]
    path = train(loss, start, images, targets, lr, flat)
    theta, kept = path.pop(), []
    for index in batches[len(flat) :]:
        kept.append(_Step.at(loss, theta, images[index], targets[index]))
        theta = theta - lr * kept[-1].gradient.detach()
    adjoint = 2 * (theta - goal) / (start - goal).square().sum()
    d_images, d_targets, d_lr = (torch.zeros_like(t) for t in (images, targets, lr))
    for index in reversed(batches):
        step = kept.pop() if kept else _Step.at(loss, path.pop(), images[index], targets[index])
        product = step.gradient @ adjoint
        h, dx, dy = torch.autograd.grad(product, (step.theta, step.images, step.targets))
        d_lr -= product.detach()
        d_images.index_add_(0, index, dx * -lr)
        d_targets.index_add_(0, index, dy * -lr)
        adjoint = adjoint - lr * h
    return MatchingGradient(
        loss=matching_loss(theta, start, goal), images=d_images, targets=d_targets, lr=d_lr
    )


@dataclass(frozen=True)
class _Step:
    """One inner step's gradient, with the graph that made it."""

    theta: Tensor
    images: Tensor
    targets: Tensor
    gradient: Tensor

    @classmethod
    def at(cls, loss: FlatLoss, theta: Tensor, images: Tensor, targets: Tensor) -> Self:
        theta, images, targets = (t.detach().requires_grad_() for t in (theta, images, targets))
        (gradient,) = torch.autograd.grad(loss(theta, images, targets), theta, create_graph=True)
        return cls(theta, images, targets, gradient)


def matching_gradient_reference(
    loss: FlatLoss,
    *,
    start: Tensor,
    goal: Tensor,
    images: Tensor,
    targets: Tensor,
    lr: Tensor,
    batches: Sequence[Tensor],
) -> MatchingGradient:
    """The same by back-propagating through the whole unroll, whose T graphs are kept alive."""
    learnt = [t.detach().requires_grad_() for t in (images, targets, lr)]
    images, targets, lr = learnt
    theta = start.detach().requires_grad_()
    for index in batches:
        (gradient,) = torch.autograd.grad(
            loss(theta, images[index], targets[index]), theta, create_graph=True
        )
        theta = theta - lr * gradient
    value = matching_loss(theta, start, goal)
    d_images, d_targets, d_lr = torch.autograd.grad(value, learnt)
    return MatchingGradient(loss=value.detach(), images=d_images, targets=d_targets, lr=d_lr)
