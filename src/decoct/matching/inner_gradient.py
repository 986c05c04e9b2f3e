"""What the unroll needs of a loss l(theta; x, y): its gradient g, and the derivative of g.

There are two implementations: by autograd, for any loss (the reference), and by hand, for the
experts' ConvNet, in two thirds of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from decoct.core.compilation import compiled
from decoct.core.shapes import Parameters, Pictures, Rows, Scalar
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.models.network import Network

# (flat parameters P, images B x C x H x W, targets B x D) to a scalar
FlatLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
Triple = tuple[Tensor, Tensor, Tensor]
Tape = Any  # what `with_tape` returns for `derivative_of_tape`


@dataclass(frozen=True)
class InnerGradient:
    """Pure functions of parameters theta (P), images x and targets y; they return no graph.

    `derivative` and `derivative_of_tape` give grad_{theta, x, y} <g, direction>.
    """

    gradient: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # loss, g
    with_tape: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tape]]  # loss, g, tape
    derivative: Callable[[Tensor, Tensor, Tensor, Tensor], Triple]  # theta, x, y, direction
    derivative_of_tape: Callable[[Tape, Tensor, Tensor], Triple]  # tape, theta, direction

    @classmethod
    def by_hand(cls, gradient: ConvNetGradient) -> Self:
        """For the ConvNet with mean squared error, written out."""
        return cls(
            gradient.gradient,
            gradient.gradient_and_tape,
            gradient.derivative,
            gradient.derivative_from_tape,
        )

    @classmethod
    def by_autograd(cls, loss: FlatLoss) -> Self:
        """For any loss; the tape is autograd's graph."""

        def gradient(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            theta = theta.detach().requires_grad_()
            with torch.enable_grad():
                value = loss(theta, x, y)
            return value.detach(), torch.autograd.grad(value, theta)[0]

        def with_tape(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, _Graph]:
            theta = theta.clone()  # it is a row of `path`, which is still being written to
            theta, x, y = (t.detach().requires_grad_() for t in (theta, x, y))
            with torch.enable_grad():
                value = loss(theta, x, y)
                (g,) = torch.autograd.grad(value, theta, create_graph=True)
            return value.detach(), g.detach(), _Graph(g, (theta, x, y))

        def derivative_of_tape(graph: _Graph, _: Tensor, direction: Tensor) -> Triple:
            theta, x, y = torch.autograd.grad(
                graph.gradient, graph.inputs, direction, materialize_grads=True
            )  # zeros if the loss ignores the targets
            return theta, x, y

        def derivative(theta: Tensor, x: Tensor, y: Tensor, direction: Tensor) -> Triple:
            return derivative_of_tape(with_tape(theta, x, y)[2], theta, direction)

        return cls(gradient, with_tape, derivative, derivative_of_tape)

    def compiled(self) -> Self:
        """The same functions, each compiled with `torch.compile` at its first call."""
        return type(self)(
            compiled(self.gradient),
            compiled(self.with_tape),
            compiled(self.derivative),
            compiled(self.derivative_of_tape),
        )


class _Graph(NamedTuple):
    gradient: Tensor
    inputs: Triple


def flat_network(network: Network) -> Callable[[Tensor, Tensor], Tensor]:
    """`network` as a function of its parameters in one vector (P) and of images: B x outputs.

    The vector's order is that of `torch.nn.utils.parameters_to_vector`.
    """
    names, shapes = zip(*((n, p.shape) for n, p in network.named_parameters()), strict=True)
    sizes = [shape.numel() for shape in shapes]

    def forward(theta: Parameters, images: Pictures) -> Rows:
        parts = theta.split(sizes)
        parameters = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        output: Rows = functional_call(network, parameters, (images,))
        return output

    return forward


def distillation_loss(network: Network) -> FlatLoss:
    """Mean squared error of `network`, as a function of its parameters in one vector."""
    forward = flat_network(network)

    def loss(theta: Parameters, images: Pictures, targets: Rows) -> Scalar:
        return F.mse_loss(forward(theta, images), targets)

    return loss
