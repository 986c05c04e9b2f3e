"""The ConvNet's gradient by hand equals autograd's, in value and along any direction."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient, distillation_loss
from decoct.matching.unroll import matching_gradient, matching_gradient_reference
from decoct.models.convnet import convnet
from decoct.models.network import Network


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-300))


def problem(
    *, size: int, depth: int, channels: int, width: int, outputs: int, batch: int, seed: int
) -> tuple[Network, dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = convnet(channels=channels, size=size, outputs=outputs, width=width, depth=depth)
        theta = parameters_to_vector(network.double().parameters()).detach()
        return network, {
            "theta": theta + 0.1 * torch.randn_like(theta),
            "x": torch.randn(batch, channels, size, size, dtype=torch.float64),
            "y": torch.randn(batch, outputs, dtype=torch.float64),
            "direction": torch.randn_like(theta),
        }


@settings(max_examples=60)
@given(data=st.data())
def test_equal_to_autograd_in_float64(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 4), "depth")
    network, given_ = problem(
        depth=depth,
        size=data.draw(st.integers(2**depth, 2**depth + 7), "size"),  # odd sides lose a row
        channels=data.draw(st.sampled_from([1, 2, 3]), "channels"),
        width=data.draw(st.integers(1, 6), "width"),
        outputs=data.draw(st.integers(1, 5), "outputs"),
        batch=data.draw(st.integers(1, 5), "batch"),
        seed=data.draw(st.integers(0, 10**6), "seed"),
    )
    theta, x, y, direction = given_.values()
    by_hand = InnerGradient.by_hand(ConvNetGradient(network))
    by_autograd = InnerGradient.by_autograd(distillation_loss(network))
    expected_loss, expected = by_autograd.gradient(theta, x, y)
    with torch.no_grad():
        loss, gradient = by_hand.gradient(theta, x, y)
        again, same, tape = by_hand.with_tape(theta, x, y)
        derivative = by_hand.derivative(theta, x, y, direction)
        of_tape = by_hand.derivative_of_tape(tape, theta, direction)
    assert relative(loss, expected_loss) < 1e-12
    assert relative(gradient, expected) < 1e-9
    assert torch.equal(again, loss)
    assert torch.equal(same, gradient)
    for got, kept, wanted in zip(
        derivative, of_tape, by_autograd.derivative(theta, x, y, direction), strict=True
    ):
        assert relative(got, wanted) < 1e-9
        assert torch.equal(got, kept)  # a tape saves time, and changes no bit


def test_derivative_is_the_derivative_by_finite_differences() -> None:
    network, given_ = problem(size=6, depth=1, channels=2, width=3, outputs=2, batch=3, seed=5)
    theta, x, y, direction = given_.values()
    inner = ConvNetGradient(network)

    def value(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return inner.gradient(theta, x, y)[1] @ direction

    derivative = inner.derivative(theta, x, y, direction)
    for i, tensor in enumerate((theta, x, y)):
        way = torch.randn_like(tensor)
        step = 1e-6 * way
        moved = [
            [t + sign * step if j == i else t for j, t in enumerate((theta, x, y))]
            for sign in (1, -1)
        ]
        slope = (value(*moved[0]) - value(*moved[1])) / 2e-6
        assert float((derivative[i] * way).sum()) == pytest.approx(float(slope), rel=1e-5)


@pytest.mark.parametrize("kept_tapes", [0, 2, 9])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_sweep_by_hand_equals_the_whole_unroll(kept_tapes: int, momentum: float) -> None:
    network, given_ = problem(size=8, depth=2, channels=3, width=4, outputs=3, batch=6, seed=1)
    theta, x, y, direction = given_.values()
    arguments: dict[str, Any] = {
        "start": theta,
        "goal": theta + 0.1 * direction,
        "images": x,
        "targets": y,
        "lr": torch.tensor(0.2, dtype=torch.float64),
        "momentum": momentum,
        "batches": [torch.tensor(b) for b in ([0, 1, 2], [3, 4], [5], [0, 5, 2])],
    }
    inner = InnerGradient.by_hand(ConvNetGradient(network))
    got = matching_gradient(inner, **arguments, kept_tapes=kept_tapes)
    expected = matching_gradient_reference(distillation_loss(network), **arguments)
    for what in ("loss", "images", "targets", "lr"):
        assert relative(getattr(got, what), getattr(expected, what)) < 1e-9, what


def test_tape_bytes_counts_what_a_tape_adds() -> None:
    network, given_ = problem(size=9, depth=2, channels=3, width=4, outputs=5, batch=2, seed=0)
    inner = ConvNetGradient(network)
    _, _, tape = inner.gradient_and_tape(given_["theta"], given_["x"], given_["y"])
    numbers = sum(t.numel() for block in tape.blocks for t in block) - given_["x"].numel()
    numbers += tape.features.numel() + tape.g_out.numel()
    assert inner.tape_bytes(2, 9) == 4 * numbers


def test_float32_is_as_near_to_float64_as_autograd_is() -> None:
    network, given_ = problem(size=8, depth=2, channels=3, width=4, outputs=3, batch=4, seed=2)
    exact = ConvNetGradient(network).derivative(*given_.values())
    network.float()
    rounded = [t.float() for t in given_.values()]
    for got, wanted in zip(ConvNetGradient(network).derivative(*rounded), exact, strict=True):
        assert relative(got, wanted) < 1e-5


def test_bfloat16_convolutions_are_near_and_not_equal() -> None:
    network, given_ = problem(size=8, depth=2, channels=3, width=4, outputs=3, batch=4, seed=2)
    network.float()
    theta, x, y, _ = (t.float() for t in given_.values())
    _, exact = ConvNetGradient(network).gradient(theta, x, y)
    _, coarse = ConvNetGradient(network, dtype=torch.bfloat16).gradient(theta, x, y)
    assert coarse.dtype == torch.float32
    assert 1e-5 < relative(coarse, exact) < 0.1
