"""The gradient of trajectory matching through T steps of SGD, in the memory of one step.

The inner loop is theta_{t+1} = theta_t - lr * grad l(theta_t; x_t, y_t), from an expert's
parameters theta_0; its loss is L = |theta_T - theta*|^2 / |theta_0 - theta*|^2 (MKDT, section 4).
With momentum mu, v_{t+1} = mu v_t + grad l replaces the gradient, as in torch.optim.SGD.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from decoct.core.shapes import Index, Parameters, Pictures, Rows, Scalar
from decoct.matching.inner_gradient import FlatLoss, InnerGradient

T = TypeVar("T", InnerGradient, FlatLoss)


@dataclass(frozen=True)
class MatchingGradient:
    """The matching loss and its gradient for everything that is learnt."""

    loss: Scalar
    images: Pictures
    targets: Rows
    lr: Scalar


def matching_loss(end: Parameters, start: Parameters, goal: Parameters) -> Scalar:
    """|end - goal|^2 / |start - goal|^2 of parameter vectors: 1 if training had no effect."""
    return (end - goal).square().sum() / (start - goal).square().sum()


def _by_step(inner: T | Sequence[T], batches: Sequence[Index]) -> Sequence[T]:
    """One value per step, from a sequence or from a single value for all steps."""
    return inner if isinstance(inner, Sequence) else [inner] * len(batches)


@torch.no_grad()
def train(
    inner: InnerGradient | Sequence[InnerGradient],
    *,
    start: Parameters,
    images: Pictures,
    targets: Rows,
    lr: Scalar,
    batches: Sequence[Index],
    momentum: float = 0.0,
) -> Parameters:
    """theta_T: where SGD ends after one step for each of `batches` (indices, int64).

    `inner` is either one loss for all steps, or one per step.
    """
    theta, velocity = start, torch.zeros_like(start)
    for step, index in zip(_by_step(inner, batches), batches, strict=True):
        _, gradient = step.gradient(theta, images[index], targets[index])
        velocity = momentum * velocity + gradient
        theta = theta - lr * velocity
    return theta


@torch.no_grad()
def matching_gradient(
    inner: InnerGradient | Sequence[InnerGradient],
    *,
    start: Parameters,
    goal: Parameters,
    images: Pictures,
    targets: Rows,
    lr: Scalar,
    batches: Sequence[Index],
    momentum: float = 0.0,
    kept_tapes: int = 0,
) -> MatchingGradient:
    """The exact gradient by a backward sweep with the adjoints lambda = dL/dtheta, nu = dL/dv.

    Forward, only the T parameter vectors are kept. Backward, with g = grad l(theta_t; x_t, y_t):

        dL/dlr -= <v_{t+1}, lambda>, where lr v_{t+1} = theta_t - theta_{t+1}
        nu -= lr lambda
        (h, dx, dy) = grad_{theta, x, y} <g, nu>
        dL/dx_t += dx,  dL/dy_t += dy,  lambda += h,  nu *= mu

    The sweep recomputes each step, except for the last `kept_tapes` steps, which keep what they
    need; their memory grows with their number. The result equals `matching_gradient_reference`,
    whose memory grows with T. `inner` is one loss for all steps, or one per step if the loss has
    random draws: recomputing a step must make the same draws.
    """
    steps = _by_step(inner, batches)
    path = start.new_empty(len(batches) + 1, len(start))  # one block, so the heap does not fragment
    path[0] = start
    velocity, tapes = torch.zeros_like(start), []
    for t, index in enumerate(batches):
        if t >= len(batches) - kept_tapes:
            _, gradient, tape = steps[t].with_tape(path[t], images[index], targets[index])
            tapes.append(tape)
        else:
            _, gradient = steps[t].gradient(path[t], images[index], targets[index])
        velocity = momentum * velocity + gradient
        path[t + 1] = path[t] - lr * velocity
    end = path[-1]
    adjoint = 2 * (end - goal) / (start - goal).square().sum()
    adjoint_v = torch.zeros_like(start)
    d_images, d_targets, d_lr = (torch.zeros_like(tensor) for tensor in (images, targets, lr))
    for t in reversed(range(len(batches))):
        theta, index = path[t], batches[t]
        d_lr -= (theta - path[t + 1]) @ adjoint / lr
        adjoint_v = adjoint_v - lr * adjoint
        if tapes:
            h, dx, dy = steps[t].derivative_of_tape(tapes.pop(), theta, adjoint_v)
        else:
            h, dx, dy = steps[t].derivative(theta, images[index], targets[index], adjoint_v)
        d_images.index_add_(0, index, dx)
        d_targets.index_add_(0, index, dy)
        adjoint = adjoint + h
        adjoint_v = momentum * adjoint_v
    loss = matching_loss(end, start, goal)
    return MatchingGradient(loss=loss, images=d_images, targets=d_targets, lr=d_lr)


def matching_gradient_reference(
    loss: FlatLoss | Sequence[FlatLoss],
    *,
    start: Parameters,
    goal: Parameters,
    images: Pictures,
    targets: Rows,
    lr: Scalar,
    batches: Sequence[Index],
    momentum: float = 0.0,
) -> MatchingGradient:
    """The same by back-propagating through the whole unroll, which keeps all T graphs alive."""
    learnt = [t.detach().requires_grad_() for t in (images, targets, lr)]
    images, targets, lr = learnt
    theta, velocity = start.detach().requires_grad_(), torch.zeros_like(start)
    for step, index in zip(_by_step(loss, batches), batches, strict=True):
        (gradient,) = torch.autograd.grad(
            step(theta, images[index], targets[index]), theta, create_graph=True
        )
        velocity = momentum * velocity + gradient
        theta = theta - lr * velocity
    value = matching_loss(theta, start, goal)
    d_images, d_targets, d_lr = torch.autograd.grad(value, learnt, materialize_grads=True)
    return MatchingGradient(loss=value.detach(), images=d_images, targets=d_targets, lr=d_lr)
