"""The ConvNet's MSE gradient and its derivative along a direction, without autograd.

For a block with input x, weight w, gain c and shift b (the convolution's own bias cancels in the
norm, so its gradient is zero):

    a = w * x,  z = r (a - <a>),  r = (<(a - <a>)^2> + eps)^(-1/2),  u = c z + b,  p = pool(relu(u))

where <.> is the mean over a channel's pixels. Backward, with g_ the gradient of the loss for _:

    g_u = [u > 0] unpool(g_p),  q = g_u - <g_u> - z <z g_u>,  g_a = c r q

A dot is the derivative along the direction (w., c., b.), by the usual rules:

    r. = -r^2 <z a.>,  z. = r (a. - <a.> - z <z a.>),  u. = c. z + c z. + b.
    q. = g_u. - <g_u.> - z. <z g_u> - z (<z g_u.> + <z. g_u>),  g_a. = (c r). q + c r q.

Autograd does the same with twice as many convolutions of less favourable shapes, and keeps ten
times the memory (`AutogradGradient`; tests hold the two equal). Tensors are channels-last.
"""

from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.core.shapes import Features, Parameters, Pictures, Rows, Scalar
from decoct.models.network import Network

_EPS = 1e-5  # of torch's group norm
_CONV = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1)  # stride, padding, dilation, ..., groups


class Block(NamedTuple):
    """A block's parameters, or their derivatives."""

    weight: Tensor  # C x C_in x 3 x 3
    gain: Tensor  # 1 x C x 1 x 1
    shift: Tensor  # 1 x C x 1 x 1


class Saved(NamedTuple):
    """What the derivative of a block needs from the gradient pass."""

    x: Tensor  # B x C_in x H x W: the input
    z: Tensor  # B x C x H x W: normalised
    r: Tensor  # B x C x 1 x 1: one over the standard deviation
    g_p: Tensor  # B x C x H/2 x W/2: the gradient of the loss for the output


class Tape(NamedTuple):
    """What is kept of a step, so that its derivative need not recompute it."""

    blocks: list[Saved]
    features: Features
    g_out: Rows


class ConvNetGradient:
    """g(theta) = grad of mean |f(x; theta) - y|^2, for a `convnet` and flat parameters theta.

    The order of theta is that of `torch.nn.utils.parameters_to_vector`. It does not use autograd:
    call it under `torch.no_grad`. `dtype` rounds the operands of convolutions (bfloat16 has half
    the bits, and the gradient is off by about one per cent).
    """

    def __init__(self, network: Network, *, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self.shapes = [p.shape for p in network.parameters()]
        self.sizes = [shape.numel() for shape in self.shapes]

    def gradient(
        self, theta: Parameters, images: Pictures, targets: Rows
    ) -> tuple[Scalar, Parameters]:
        """Loss (scalar) and g (P)."""
        _, loss, gradient = self._pass(theta, images, targets)
        return loss, torch.cat(gradient)

    def gradient_and_tape(
        self, theta: Parameters, images: Pictures, targets: Rows
    ) -> tuple[Scalar, Parameters, Tape]:
        """Loss, g, and what `derivative_from_tape` needs."""
        tape, loss, gradient = self._pass(theta, images, targets)
        return loss, torch.cat(gradient), tape

    def derivative(
        self, theta: Parameters, images: Pictures, targets: Rows, direction: Parameters
    ) -> tuple[Parameters, Pictures, Rows]:
        """grad_{theta, x, y} <g, direction>: P, B x C x H x W, B x D."""
        tape, _, _ = self._pass(theta, images, targets, weights=False)
        return self.derivative_from_tape(tape, theta, direction)

    def tape_bytes(self, batch: int, size: int) -> int:
        """Float32 bytes of one step's tape, not counting its images and targets.

        >>> from decoct.models.convnet import convnet
        >>> ConvNetGradient(convnet(outputs=512, width=64)).tape_bytes(64, 32)
        33210368
        """
        count = self.shapes[-1].numel()  # g_out
        for weight in self.shapes[:-2:4]:
            count += weight[0] * (size**2 + 1 + 2 * (size // 2) ** 2)  # z, r, g_p, next block's x
            size //= 2
        return 4 * batch * count

    def multiply_adds(self, batch: int, size: int) -> list[int]:
        """Of each block's convolution, in the forward pass of a batch."""
        found = []
        for weight in self.shapes[:-2:4]:
            found.append(batch * size**2 * weight.numel())
            size //= 2
        return found

    def _split(self, theta: Tensor) -> tuple[list[Block], Tensor, Tensor]:
        parts = [p.view(s) for p, s in zip(theta.split(self.sizes), self.shapes, strict=True)]
        blocks = [
            Block(_innermost(weight), gain.view(1, -1, 1, 1), shift.view(1, -1, 1, 1))
            for weight, gain, shift in zip(parts[:-2:4], parts[2:-2:4], parts[3:-2:4], strict=True)
        ]
        return blocks, parts[-2], parts[-1]

    def _pass(
        self, theta: Tensor, images: Tensor, targets: Tensor, *, weights: bool = True
    ) -> tuple[Tape, Tensor, list[Tensor]]:
        """Forward and backward; without `weights`, only what the derivative needs."""
        blocks, head, head_bias = self._split(theta)
        x, forward = _innermost(images), []
        for block in blocks:
            z, r = _normalise(self._conv(x, block.weight))
            forward.append((x, z, r))
            x = F.avg_pool2d(_affine(z, block).relu_(), 2)
        features = x.flatten(1)
        error = torch.addmm(head_bias, features, head.t()) - targets
        g_out = error * (2 / error.numel())
        found = [g_out.sum(0), (g_out.t() @ features).flatten()] if weights else []
        g_p, saved = _innermost((g_out @ head).view(x.shape)), []
        for i, (block, (x, z, r)) in reversed(list(enumerate(zip(blocks, forward, strict=True)))):
            saved.append(Saved(x, z, r, g_p))
            if i == 0 and not weights:
                break
            g_a, mean, mean_z = _backward(block, z, r, g_p)
            if weights:
                found += _parameters(mean, mean_z, z, self._conv_weight(x, g_a, block.weight))
            if i > 0:
                g_p = self._conv_input(g_a, block.weight, x)
        return Tape(saved[::-1], features, g_out), error.square().mean(), found[::-1]

    def derivative_from_tape(
        self, tape: Tape, theta: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `derivative`, for a step whose tape was kept."""
        blocks, head, _ = self._split(theta)
        dots, head_dot, head_bias_dot = self._split(direction)
        x_dot: Tensor | None = None  # the images do not vary
        forward: list[tuple[Tensor | None, Tensor, Tensor]] = []
        for block, dot, (x, z, r, _) in zip(blocks, dots, tape.blocks, strict=True):
            a_dot = self._conv(x, dot.weight)
            if x_dot is not None:
                a_dot += self._conv(x_dot, block.weight)
            z_dot, r_dot = _normalise_dot(a_dot, z, r)
            forward.append((x_dot, z_dot, r_dot))
            u_dot = _affine(z, dot).addcmul_(z_dot, block.gain)
            x_dot = F.avg_pool2d(_where_positive(u_dot, _affine(z, block)), 2)
        assert x_dot is not None  # there is at least one block
        features_dot, scale = x_dot.flatten(1), 2 / tape.g_out.numel()
        out_dot = torch.addmm(head_bias_dot, features_dot, head.t())
        g_out_dot = torch.addmm(out_dot, tape.features, head_dot.t()) * scale
        found = [g_out_dot.sum(0)]
        found += [
            torch.addmm(g_out_dot.t() @ tape.features, tape.g_out.t(), features_dot).flatten()
        ]
        g_dot = torch.addmm(g_out_dot @ head, tape.g_out, head_dot).view(x_dot.shape)
        g_p_dot = _innermost(g_dot)
        for block, dot, saved in reversed(list(zip(blocks, dots, tape.blocks, strict=True))):
            x_dot, z_dot, r_dot = forward.pop()  # so that its memory is freed after the block
            g_a, g_a_dot, mean_dot, mean_z_dot = _backward_dot(
                block, dot, saved, z_dot=z_dot, r_dot=r_dot, g_p_dot=g_p_dot
            )
            weight_dot = self._conv_weight(saved.x, g_a_dot, block.weight)
            if x_dot is not None:
                weight_dot += self._conv_weight(x_dot, g_a, block.weight)
                g_p_dot = self._conv_input(g_a_dot, block.weight, saved.x)
                g_p_dot += self._conv_input(g_a, dot.weight, saved.x)
            found += _parameters(mean_dot, mean_z_dot, saved.z, weight_dot)
        images_dot = _conv_images([(g_a_dot, block.weight), (g_a, dot.weight)])
        return torch.cat(found[::-1]), images_dot, -g_out_dot

    def _conv(self, x: Tensor, weight: Tensor) -> Tensor:
        x_low, weight_low = self._rounded(x, weight)
        return F.conv2d(x_low, weight_low, padding=1).to(x.dtype)

    def _conv_weight(self, x: Tensor, g: Tensor, weight: Tensor) -> Tensor:
        """The gradient of <conv(x, weight), g> for the weight."""
        x_low, g_low, weight_low = self._rounded(x, g, weight)
        slope: Tensor = _convolution_backward(g_low, x_low, weight_low, (False, True, False))[1]
        return slope.to(x.dtype)

    def _conv_input(self, g: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The gradient of <conv(x, weight), g> for the input."""
        x_low, g_low, weight_low = self._rounded(x, g, weight)
        slope: Tensor = _convolution_backward(g_low, x_low, weight_low, (True, False, False))[0]
        return slope.to(x.dtype)

    def _rounded(self, *operands: Tensor) -> list[Tensor]:
        return [t.to(self.dtype or t.dtype) for t in operands]


def _innermost(x: Tensor) -> Tensor:
    """Channels-last memory format, for which oneDNN's and torch's kernels are fastest."""
    return x.contiguous(memory_format=torch.channels_last)


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _affine(z: Tensor, block: Block) -> Tensor:
    return torch.addcmul(block.shift, z, block.gain)


def _normalise(a: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z and r; overwrites `a`."""
    a -= _mean(a)
    r = (_mean(a * a) + _EPS).rsqrt()
    return a.mul_(r), r


def _normalise_dot(a_dot: Tensor, z: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z. and r."""
    mean_z = _mean(z * a_dot)
    z_dot = (a_dot - _mean(a_dot)).addcmul_(z, mean_z, value=-1).mul_(r)
    return z_dot, -r * r * mean_z


def _backward(block: Block, z: Tensor, r: Tensor, g_p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns g_a, <g_u> and <z g_u>."""
    g_u = _unpool(g_p, _affine(z, block))
    mean, mean_z = _mean(g_u), _mean(g_u * z)
    g_a = (g_u - mean).addcmul_(z, mean_z, value=-1).mul_(block.gain * r)
    return g_a, mean, mean_z


def _backward_dot(
    block: Block, dot: Block, saved: Saved, *, z_dot: Tensor, r_dot: Tensor, g_p_dot: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns g_a, g_a., <g_u>. and <z g_u>."""
    _, z, r, g_p = saved
    u = _affine(z, block)
    g_u, g_u_dot = _unpool(g_p, u), _unpool(g_p_dot, u)
    mean_z, mean_dot = _mean(g_u * z), _mean(g_u_dot)
    mean_z_dot = _mean((g_u_dot * z).addcmul_(g_u, z_dot))
    q = (g_u - _mean(g_u)).addcmul_(z, mean_z, value=-1)
    q_dot = (g_u_dot - mean_dot).addcmul_(z_dot, mean_z, value=-1)
    q_dot.addcmul_(z, mean_z_dot, value=-1)
    scale, scale_dot = block.gain * r, dot.gain * r + block.gain * r_dot
    return scale * q, (scale_dot * q).addcmul_(q_dot, scale), mean_dot, mean_z_dot


def _where_positive(x: Tensor, u: Tensor) -> Tensor:
    """[u > 0] x, in one pass."""
    found: Tensor = torch.ops.aten.threshold_backward(x, u, 0)
    return found


def _unpool(g_p: Tensor, u: Tensor) -> Tensor:
    """[u > 0] times the transpose of 2x2 average pooling."""
    spread = F.interpolate(g_p * 0.25, scale_factor=2)
    odd = u.shape[2] % 2  # pooling drops the last row and column
    return _where_positive(F.pad(spread, (0, odd, 0, odd)) if odd else spread, u)


def _parameters(mean: Tensor, mean_z: Tensor, z: Tensor, weight: Tensor) -> list[Tensor]:
    """The gradients for shift, gain, the bias that cancels, and weight: reverse order of theta."""
    pixels = z.shape[2] * z.shape[3]
    shift, gain = (m.sum((0, 2, 3)) * pixels for m in (mean, mean_z))
    return [shift, gain, torch.zeros_like(shift), weight.flatten()]


def _convolution_backward(
    g: Tensor, x: Tensor, weight: Tensor, mask: tuple[bool, bool, bool]
) -> tuple[Any, ...]:
    found: tuple[Any, ...] = torch.ops.aten.convolution_backward(g, x, weight, None, *_CONV, mask)
    return found


def _conv_images(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of `_conv_input` over (g, weight) pairs, when the input has few channels (images).

    A matrix product and nine shifts: with 3 channels, oneDNN reaches a fifth of its usual speed.
    """
    batch, _, height, width = pairs[0][0].shape
    products = [
        g.permute(0, 2, 3, 1).flatten(0, 2) @ weight.permute(0, 2, 3, 1).flatten(1)
        for g, weight in pairs
    ]
    columns = reduce(torch.add, products).view(batch, height, width, 3, 3, -1)
    shifted = [
        F.pad(columns[:, :, :, i, j], (0, 0, j - 1, 1 - j, i - 1, 1 - i))
        for i in range(3)
        for j in range(3)
    ]
    return reduce(torch.add, shifted).permute(0, 3, 1, 2)
