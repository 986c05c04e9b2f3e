"""The sweep equals the whole unroll, the definition of a derivative, and sums done by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from decoct.matching.inner_gradient import FlatLoss, InnerGradient, distillation_loss
from decoct.matching.unroll import (
    MatchingGradient,
    matching_gradient,
    matching_gradient_reference,
    matching_loss,
    train,
)
from decoct.models.convnet import convnet
from decoct.models.network import Network

IMAGES, OUTPUTS = 6, 3


def sweep(loss: FlatLoss, **arguments: Any) -> MatchingGradient:
    return matching_gradient(InnerGradient.by_autograd(loss), **arguments)


BOTH = pytest.mark.parametrize("gradient_of", [sweep, matching_gradient_reference])


def mlp(activation: type[nn.Module], hidden: Sequence[int], inputs: int = 12) -> Network:
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    return Network(nn.Sequential(*layers), features=inputs, outputs=OUTPUTS)


def small_convnet(size: int, channels: int, width: int, depth: int) -> Network:
    return convnet(channels=channels, size=size, outputs=OUTPUTS, width=width, depth=depth)


# name: (how to build it, shape of an image)
NETWORKS: dict[str, tuple[Callable[[], Network], tuple[int, int, int]]] = {
    "convnet 2 x 1": (lambda: small_convnet(4, 3, 2, 1), (3, 4, 4)),
    "convnet 3 x 2": (lambda: small_convnet(8, 1, 3, 2), (1, 8, 8)),
    "convnet 2 x 3": (lambda: small_convnet(8, 3, 2, 3), (3, 8, 8)),
    "convnet 5 x 1": (lambda: small_convnet(6, 2, 5, 1), (2, 6, 6)),
    "linear": (lambda: mlp(nn.Tanh, []), (3, 2, 2)),
    "tanh mlp": (lambda: mlp(nn.Tanh, [5]), (3, 2, 2)),
    "relu mlp": (lambda: mlp(nn.ReLU, [7, 4]), (3, 2, 2)),
    "gelu mlp": (lambda: mlp(nn.GELU, [4, 4, 4]), (3, 2, 2)),
}

indices = st.integers(0, IMAGES - 1)
# A batch of 1, uneven sizes, overlapping batches, and the same image twice in one batch.
uneven = st.lists(st.lists(indices, min_size=1, max_size=IMAGES), min_size=1, max_size=6)
repeated = st.builds(
    lambda batch, t: [batch] * t,
    st.lists(indices, min_size=1, max_size=4, unique=True),
    st.integers(1, 6),
)
whole = st.builds(lambda t: [list(range(IMAGES))] * t, st.integers(1, 6))


def problem(name: str, seed: int) -> tuple[FlatLoss, dict[str, Tensor]]:
    build, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build().double()
        start = parameters_to_vector(network.parameters()).detach()
        tensors = {
            "start": start,
            "goal": start + 0.1 * torch.randn_like(start),
            "images": torch.randn(IMAGES, *shape, dtype=torch.float64),
            "targets": torch.randn(IMAGES, OUTPUTS, dtype=torch.float64),
        }
    return distillation_loss(network), tensors


def as_batches(lists: Sequence[Sequence[int]]) -> list[Tensor]:
    return [torch.tensor(batch) for batch in lists]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


@settings(max_examples=80)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    seed=st.integers(0, 2**31),
    lr=st.floats(0.01, 0.5),
    lists=st.one_of(uneven, repeated, whole),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    kept_tapes=st.integers(0, 7),
)
def test_sweep_equals_whole_unroll(
    name: str, seed: int, lr: float, lists: list[list[int]], momentum: float, kept_tapes: int
) -> None:
    loss, tensors = problem(name, seed)
    arguments: dict[str, Any] = {
        **tensors,
        "lr": torch.tensor(lr, dtype=torch.float64),
        "batches": as_batches(lists),
        "momentum": momentum,
    }
    got = sweep(loss, **arguments, kept_tapes=kept_tapes)
    expected = matching_gradient_reference(loss, **arguments)
    assert relative(got.loss, expected.loss) < 1e-9
    for what in ("images", "targets", "lr"):
        assert relative(getattr(got, what), getattr(expected, what)) < 1e-9, what


@BOTH
@pytest.mark.parametrize("name, momentum", [("tanh mlp", 0.0), ("gelu mlp", 0.9), ("linear", 0.5)])
def test_gradient_is_the_derivative_by_finite_differences(
    name: str, momentum: float, gradient_of: Callable[..., MatchingGradient]
) -> None:
    loss, tensors = problem(name, seed=3)
    fixed: dict[str, Any] = {"start": tensors["start"], "goal": tensors["goal"]}
    batches = as_batches([[0, 1, 2], [3], [2, 4, 5], [0, 1, 2]])

    class Unroll(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: Tensor, targets: Tensor, lr: Tensor) -> Tensor:
            ctx.save_for_backward(images, targets, lr)
            with torch.enable_grad():
                end = train(
                    InnerGradient.by_autograd(loss),
                    start=fixed["start"],
                    images=images,
                    targets=targets,
                    lr=lr,
                    batches=batches,
                    momentum=momentum,
                )
            return matching_loss(end, fixed["start"], fixed["goal"]).detach()

        @staticmethod
        def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            images, targets, lr = ctx.saved_tensors
            with torch.enable_grad():
                g = gradient_of(
                    loss,
                    **fixed,
                    images=images,
                    targets=targets,
                    lr=lr,
                    batches=batches,
                    momentum=momentum,
                )
            return outer * g.images, outer * g.targets, outer * g.lr

    inputs = (
        tensors["images"].requires_grad_(),
        tensors["targets"].requires_grad_(),
        torch.tensor(0.2, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(Unroll.apply, inputs)


def scalar_loss(theta: Tensor, images: Tensor, targets: Tensor) -> Tensor:
    """The scalar model y = theta x, mean squared error."""
    return (theta * images.flatten(1) - targets).square().mean()


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@BOTH
def test_scalar_model_one_step_by_hand(gradient_of: Callable[..., MatchingGradient]) -> None:
    # theta_1 = a - 2 lr x (a x - y) and L = (theta_1 - b)^2 / (a - b)^2.
    a, b, x, y, lr = 0.5, 2.0, 1.5, 3.0, 0.1
    theta = a - 2 * lr * x * (a * x - y)
    outer = 2 * (theta - b) / (a - b) ** 2
    got = gradient_of(
        scalar_loss,
        start=scalar(a).view(1),
        goal=scalar(b).view(1),
        images=scalar(x).view(1, 1, 1, 1),
        targets=scalar(y).view(1, 1),
        lr=scalar(lr),
        batches=as_batches([[0]]),
    )
    assert float(got.loss) == pytest.approx((theta - b) ** 2 / (a - b) ** 2, rel=1e-13)
    assert float(got.images) == pytest.approx(outer * -2 * lr * (2 * a * x - y), rel=1e-13)
    assert float(got.targets) == pytest.approx(outer * 2 * lr * x, rel=1e-13)
    assert float(got.lr) == pytest.approx(outer * -2 * x * (a * x - y), rel=1e-13)


@BOTH
def test_scalar_model_two_steps_by_hand(gradient_of: Callable[..., MatchingGradient]) -> None:
    # Two images, a step on each: theta_{t+1} = (1 - 2 lr x_t^2) theta_t + 2 lr x_t y_t.
    a, b, (x0, x1), (y0, y1), lr = -0.4, 1.0, (1.2, -0.7), (0.9, 2.0), 0.15
    keep0, keep1 = 1 - 2 * lr * x0**2, 1 - 2 * lr * x1**2
    theta1 = keep0 * a + 2 * lr * x0 * y0
    theta2 = keep1 * theta1 + 2 * lr * x1 * y1
    outer = 2 * (theta2 - b) / (a - b) ** 2
    got = gradient_of(
        scalar_loss,
        start=scalar(a).view(1),
        goal=scalar(b).view(1),
        images=torch.tensor([x0, x1], dtype=torch.float64).view(2, 1, 1, 1),
        targets=torch.tensor([[y0], [y1]], dtype=torch.float64),
        lr=scalar(lr),
        batches=as_batches([[0], [1]]),
    )
    d_x0 = outer * keep1 * (-4 * lr * x0 * a + 2 * lr * y0)
    d_x1 = outer * (-4 * lr * x1 * theta1 + 2 * lr * y1)
    d_y0, d_y1 = outer * keep1 * 2 * lr * x0, outer * 2 * lr * x1
    d_theta1 = -2 * x0**2 * a + 2 * x0 * y0
    d_lr = outer * (keep1 * d_theta1 - 2 * x1**2 * theta1 + 2 * x1 * y1)
    assert got.images.flatten().tolist() == pytest.approx([d_x0, d_x1], rel=1e-12)
    assert got.targets.flatten().tolist() == pytest.approx([d_y0, d_y1], rel=1e-12)
    assert float(got.lr) == pytest.approx(d_lr, rel=1e-12)


@BOTH
def test_scalar_model_two_steps_with_momentum_by_hand(
    gradient_of: Callable[..., MatchingGradient],
) -> None:
    # g_t = 2 x (x theta_t - y), v_1 = g_0, v_2 = mu g_0 + g_1, theta_2 = a - lr (v_1 + v_2).
    a, b, x, y, lr, mu = 0.3, -1.0, 1.1, 0.7, 0.12, 0.8
    g0 = 2 * x * (x * a - y)
    theta1 = a - lr * g0
    g1 = 2 * x * (x * theta1 - y)
    theta2 = theta1 - lr * (mu * g0 + g1)
    outer = 2 * (theta2 - b) / (a - b) ** 2
    keep = 1 + mu - 2 * lr * x**2  # of g_0, in (a - theta_2) / lr - g_1 at theta_1 = a
    # theta_2 = a - lr (keep g_0 + 2 x (x a - y)) = a - lr (keep + 1) g_0.
    assert theta2 == pytest.approx(a - lr * (keep + 1) * g0, rel=1e-12)
    d_y = outer * -lr * (keep + 1) * -2 * x
    d_x = outer * -lr * ((keep + 1) * (4 * x * a - 2 * y) - 4 * lr * x * g0)
    d_lr = outer * (-(keep + 1) * g0 + lr * 2 * x**2 * g0)
    got = gradient_of(
        scalar_loss,
        start=scalar(a).view(1),
        goal=scalar(b).view(1),
        images=scalar(x).view(1, 1, 1, 1),
        targets=scalar(y).view(1, 1),
        lr=scalar(lr),
        batches=as_batches([[0], [0]]),
        momentum=mu,
    )
    assert float(got.images) == pytest.approx(d_x, rel=1e-12)
    assert float(got.targets) == pytest.approx(d_y, rel=1e-12)
    assert float(got.lr) == pytest.approx(d_lr, rel=1e-12)


@BOTH
def test_images_in_no_batch_get_no_gradient(gradient_of: Callable[..., MatchingGradient]) -> None:
    loss, tensors = problem("tanh mlp", seed=0)
    got = gradient_of(loss, **tensors, lr=scalar(0.1), batches=as_batches([[0, 2], [2]]))
    moved = got.images.flatten(1).abs().sum(1) > 0
    assert moved.tolist() == [True, False, True, False, False, False]
    assert (got.targets.abs().sum(1) > 0).tolist() == moved.tolist()


@BOTH
def test_no_graph_and_no_change_is_left_behind(
    gradient_of: Callable[..., MatchingGradient],
) -> None:
    loss, tensors = problem("convnet 2 x 1", seed=0)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    lr = scalar(0.1)
    got = gradient_of(loss, **tensors, lr=lr, batches=as_batches([[0, 1], [2, 3]]))
    assert not any(t.requires_grad for t in (*vars(got).values(), *tensors.values(), lr))
    assert all(torch.equal(tensors[name], before[name]) for name in tensors)


def test_matching_loss_is_one_at_the_start_and_zero_at_the_goal() -> None:
    start, goal = torch.randn(2, 50, dtype=torch.float64)
    assert float(matching_loss(start, start, goal)) == 1
    assert float(matching_loss(goal, start, goal)) == 0
    half = matching_loss((start + goal) / 2, start, goal)
    assert float(half) == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_train_is_torchs_sgd_of_the_network(momentum: float) -> None:
    network = small_convnet(8, 3, 2, 2).double()
    start = parameters_to_vector(network.parameters()).detach()
    images = torch.randn(IMAGES, 3, 8, 8, dtype=torch.float64)
    targets = torch.randn(IMAGES, OUTPUTS, dtype=torch.float64)
    batches = as_batches([[0, 1, 2], [3, 4, 5], [5]])
    inner = InnerGradient.by_autograd(distillation_loss(network))
    ends = [
        train(
            inner,
            start=start,
            images=images,
            targets=targets,
            lr=scalar(0.3),
            batches=batches[:t],
            momentum=momentum,
        )
        for t in range(4)
    ]
    optimiser = torch.optim.SGD(network.parameters(), lr=0.3, momentum=momentum)
    for index, theta in zip(batches, ends[1:], strict=True):
        optimiser.zero_grad()
        nn.functional.mse_loss(network(images[index]), targets[index]).backward()
        optimiser.step()
        assert torch.allclose(
            parameters_to_vector(network.parameters()), theta, rtol=1e-12, atol=1e-14
        )
    assert torch.equal(ends[0], start)


def test_training_towards_its_own_end_matches_perfectly() -> None:
    loss, tensors = problem("tanh mlp", seed=1)
    batches, lr = as_batches([[0, 1, 2], [3, 4]]), scalar(0.2)
    end = train(
        InnerGradient.by_autograd(loss),
        start=tensors["start"],
        images=tensors["images"],
        targets=tensors["targets"],
        lr=lr,
        batches=batches,
    )
    got = sweep(loss, **{**tensors, "goal": end}, lr=lr, batches=batches)
    assert float(got.loss) == 0
    assert float(got.images.norm()) == float(got.targets.norm()) == float(got.lr) == 0
