"""The noise of gradients: against enumeration of all draws, closed forms and a plain jackknife."""

import math
from collections.abc import Callable
from itertools import combinations, product

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.targets import Targets
from decoct.data.images import Images
from decoct.models.convnet import convnet
from decoct.studies.variance.gradient_variance import (
    Noise,
    compare_noise,
    gradient_noise,
    measure_noise,
)
from decoct.studies.variance.objectives import Pictures, Problem, make_problem
from decoct.training.objective import Objective

COUNT = 4
SINGLE = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(0)).double() + 0.5


def expected(batches: list[Tensor]) -> tuple[float, float]:
    """tr Cov and |E g|^2 that are estimated from two gradients, on the mean over all pairs."""
    noises = [gradient_noise(pair) for pair in product(batches, repeat=2)]
    return tuple(
        math.fsum(values) / len(noises)
        for values in zip(*((noise.trace, noise.signal) for noise in noises), strict=True)
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_both_estimates_are_unbiased_and_noise_falls_as_one_over_the_batch(batch: int) -> None:
    drawn = [SINGLE[list(i)].mean(0) for i in product(range(COUNT), repeat=batch)]
    trace = float(SINGLE.var(0, correction=0).sum()) / batch
    signal = float(SINGLE.mean(0).square().sum())
    assert expected(drawn) == pytest.approx((trace, signal), rel=1e-12)


def test_batches_without_replacement_vary_less_by_the_known_factor() -> None:
    drawn = [SINGLE[list(i)].mean(0) for i in combinations(range(COUNT), 2)]
    trace = float(SINGLE.var(0, correction=0).sum()) / 2 * (COUNT - 2) / (COUNT - 1)
    signal = float(SINGLE.mean(0).square().sum())
    assert expected(drawn) == pytest.approx((trace, signal), rel=1e-12)


@pytest.mark.parametrize("count", [5, 8, 24])
def test_the_sums_are_the_plain_formulae(count: int) -> None:
    gradients = torch.randn(count, 7, generator=torch.Generator().manual_seed(1)).double() + 0.2
    noise = gradient_noise(gradients)

    def moments(rows: Tensor) -> tuple[float, float]:
        trace = float(rows.var(0).sum())
        return trace, float(rows.mean(0).square().sum()) - trace / len(rows)

    assert (noise.trace, noise.signal) == pytest.approx(moments(gradients), rel=1e-10)
    groups = min(8, count)
    member = torch.arange(count) % groups
    left = [moments(gradients[member != j]) for j in range(groups)]
    values = torch.tensor([signal / trace for trace, signal in left], dtype=torch.float64)
    error = math.sqrt((groups - 1) ** 2 / groups * float(values.var()))
    assert noise.groups == groups
    assert noise.error == pytest.approx(error, rel=1e-8)
    normal = gradients / gradients.norm(dim=1, keepdim=True)
    assert noise.cosine == pytest.approx(float((normal[1:] * normal[:-1]).sum(1).mean()), rel=1e-10)


def test_noise_to_signal_does_not_see_the_unit_of_the_loss() -> None:
    one, other = gradient_noise(SINGLE), gradient_noise(1000 * SINGLE)
    assert other.ratio == pytest.approx(one.ratio, rel=1e-10)
    assert other.error == pytest.approx(one.error, rel=1e-8)
    assert other.cosine == pytest.approx(one.cosine, rel=1e-12)


def test_opposite_gradients_are_all_noise() -> None:
    g = torch.tensor([1.0, 0.0])
    noise = gradient_noise([g, -g, g, -g])
    assert noise.ratio == math.inf and noise.signal_to_noise < 0 and noise.cosine == -1
    assert noise.interval()[1] == math.inf


def test_what_is_noisier_is_said_only_beyond_chance() -> None:
    def noise(ratio: float, error: float) -> Noise:
        return Noise(trace=ratio, signal=1.0, error=error, groups=8, cosine=0.0)

    quiet, loud, vague = noise(1.0, 0.01), noise(2.0, 0.01), noise(2.0, 1.0)
    assert compare_noise(loud, quiet) == 1
    assert compare_noise(quiet, loud) == -1
    assert compare_noise(vague, quiet) == compare_noise(quiet, vague) == 0
    nothing = noise(0.0, 0.0)
    assert compare_noise(loud, nothing) == 1 and compare_noise(nothing, nothing) == 0
    low, high = loud.interval()
    assert 1 / low - 0.5 == pytest.approx(0.5 - 1 / high) == pytest.approx(2.364624 * 0.01)


# Of an objective


def problem(name: str, images: Images, targets: Targets) -> tuple[Problem, Callable, Tensor]:
    pictures = Pictures(images, targets.values, None)
    found = make_problem(name, pictures, objective=Objective(projector=6))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = convnet(size=images.size, width=4, depth=2, outputs=found.outputs)
    theta = parameters_to_vector(network.parameters()).detach()
    return found, found.inner(network).gradient, theta


def measure(found: Problem, gradient: Callable, theta: Tensor, **more: object) -> Noise:
    options = {"batch": 8, "repeats": 4, "fixed": False, "seed": 0, "epoch": 0} | more
    return measure_noise(found, gradient, theta, **options, advance=lambda _: None)


def test_views_alone_move_self_supervision_and_never_distillation(
    tiny_images: Images, tiny_targets: Targets
) -> None:
    for name in ("distillation", "simclr", "spectral_contrastive"):
        found = problem(name, tiny_images, tiny_targets)
        views, whole = measure(*found, fixed=True), measure(*found)
        assert whole.trace > 0
        assert (views.trace > 0) == found[0].augmented == (name != "distillation")
        if name == "distillation":
            assert views.ratio == 0 and views.cosine == pytest.approx(1)


def test_objectives_meet_the_same_batches(tiny_images: Images, tiny_targets: Targets) -> None:
    seen: dict[str, list[Tensor]] = {}
    for name in ("distillation", "barlow_twins"):
        found, gradient, theta = problem(name, tiny_images, tiny_targets)

        def watched(
            theta: Tensor, x: Tensor, y: Tensor, name: str = name, gradient: Callable = gradient
        ) -> tuple[Tensor, Tensor]:
            seen.setdefault(name, []).append(x)
            return gradient(theta, x, y)

        measure(found, watched, theta)
    ours, theirs = seen.values()
    assert len(ours) == len(theirs) == 4
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], ours[1])


def test_measured_over_many_batches_it_is_the_closed_form(
    tiny_images: Images, tiny_targets: Targets
) -> None:
    """A loss whose gradient is the mean of its pictures' corners."""
    found, _, _ = problem("distillation", tiny_images, tiny_targets)
    corners = tiny_images.normalised()[:, :, 0, 0].double()

    def gradient(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return theta, x[:, :, 0, 0].mean(0)

    batch, count = 8, len(corners)
    noise = measure(found, gradient, torch.zeros(1), batch=batch, repeats=1000)
    trace = float(corners.var(0, correction=0).sum()) / batch * (count - batch) / (count - 1)
    assert noise.trace == pytest.approx(trace, rel=0.15)
