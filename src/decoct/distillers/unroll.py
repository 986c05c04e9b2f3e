"""The gradient of trajectory matching: through T steps of SGD, at the memory of one.

The inner loop is theta_{t+1} = theta_t - lr * grad l(theta_t; x_t, y_t), from an expert's
parameters theta_0; its loss is L = |theta_T - theta*|^2 / |theta_0 - theta*|^2 (MKDT, section 4).
With momentum mu, as torch.optim.SGD has it, v_{t+1} = mu v_t + grad l takes the gradient's place.
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
    momentum: float = 0.0,
) -> Tensor:
    """theta_T: where SGD ends, a step for each of `batches` (indices, int64)."""
    theta, velocity = start, torch.zeros_like(start)
    for index in batches:
        gradient = _Step.at(loss, theta, images[index], targets[index], graph=False).gradient
        velocity = momentum * velocity + gradient
        theta = theta - lr * velocity
    return theta


def matching_gradient(
    loss: FlatLoss,
    *,
    start: Tensor,
    goal: Tensor,
    images: Tensor,
    targets: Tensor,
    lr: Tensor,
    batches: Sequence[Tensor],
    momentum: float = 0.0,
    keep_graphs: int = 0,
) -> MatchingGradient:
    """The exact gradient by a backward sweep with the adjoints lambda = dL/dtheta, nu = dL/dv.

    Forward, only the T parameter vectors (and, with momentum, velocities) are kept. Backward, with
    g = grad l(theta_t; x_t, y_t):

        dL/dlr -= <v_{t+1}, lambda>
        nu -= lr lambda
        (h, dx, dy) = grad_{theta, x, y} <g, nu>
        dL/dx_t += dx,  dL/dy_t += dy,  lambda += h,  nu *= mu

    The sweep computes each g a second time: 12 convolutions a layer and step, the plain unroll 9.
    The last `keep_graphs` steps keep theirs instead, for memory that grows with their number.
    Equal to `matching_gradient_reference`, whose memory grows with T.
    """
    images, targets, lr = images.detach(), targets.detach(), lr.detach()
    theta, velocity = start, torch.zeros_like(start)
    path, velocities, kept = [], [], []
    for t, index in enumerate(batches):
        keep = t >= len(batches) - keep_graphs
        step = _Step.at(loss, theta, images[index], targets[index], graph=keep)
        kept += [step] if keep else []
        velocity = momentum * velocity + step.gradient.detach()
        path.append(theta)
        velocities.append(velocity)
        theta = theta - lr * velocity
    adjoint = 2 * (theta - goal) / (start - goal).square().sum()
    adjoint_v = torch.zeros_like(start)
    d_images, d_targets, d_lr = (torch.zeros_like(tensor) for tensor in (images, targets, lr))
    for index in reversed(batches):
        before = path.pop()
        step = kept.pop() if kept else _Step.at(loss, before, images[index], targets[index])
        d_lr -= velocities.pop() @ adjoint
        adjoint_v = adjoint_v - lr * adjoint
        h, dx, dy = torch.autograd.grad(
            step.gradient @ adjoint_v, (step.theta, step.images, step.targets)
        )
        d_images.index_add_(0, index, dx)
        d_targets.index_add_(0, index, dy)
        adjoint = adjoint + h
        adjoint_v = momentum * adjoint_v
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
    def at(
        cls, loss: FlatLoss, theta: Tensor, images: Tensor, targets: Tensor, *, graph: bool = True
    ) -> Self:
        theta = theta.detach().requires_grad_()
        images, targets = (t.detach().requires_grad_(graph) for t in (images, targets))
        (gradient,) = torch.autograd.grad(loss(theta, images, targets), theta, create_graph=graph)
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
    momentum: float = 0.0,
) -> MatchingGradient:
    """The same by back-propagating through the whole unroll, whose T graphs are kept alive."""
    learnt = [t.detach().requires_grad_() for t in (images, targets, lr)]
    images, targets, lr = learnt
    theta, velocity = start.detach().requires_grad_(), torch.zeros_like(start)
    for index in batches:
        (gradient,) = torch.autograd.grad(
            loss(theta, images[index], targets[index]), theta, create_graph=True
        )
        velocity = momentum * velocity + gradient
        theta = theta - lr * velocity
    value = matching_loss(theta, start, goal)
    d_images, d_targets, d_lr = torch.autograd.grad(value, learnt)
    return MatchingGradient(loss=value.detach(), images=d_images, targets=d_targets, lr=d_lr)
