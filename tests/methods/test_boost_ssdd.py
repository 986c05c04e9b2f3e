"""Boost-SSDD starts at the pool's bases, learns every view, keeps to its bytes, and resumes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.factored import TURNS, Factored, FactoredShape, turned
from decoct.artefacts.targets import Targets, TargetsConfig, fit_targets
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.methods import boost_ssdd as module
from decoct.methods import factors as factors_module
from decoct.methods import regression_loop
from decoct.methods.boost_ssdd import BoostSSDD, boost_ssdd, turned_targets
from decoct.methods.factors import Factors, coefficients, starting_point
from decoct.methods.sizes import Sizes
from decoct.models.convnet_bn import convnet_bn
from decoct.models.registry import NetworkConfig
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.recipe import CompareConfig, ImagesConfig, Recipe
from decoct.run.sizes import measure_sizes, memory
from decoct.run.timing import stage_seconds
from decoct.training.population import Population
from decoct.training.pretrain import PretrainConfig

TINY = BoostSSDD(
    iterations=9,
    batch=16,
    lr=0.01,
    network=NetworkConfig(name="convnet-bn", width=4, depth=2),
    population=2,
    lifetime=3,
    network_lr=0.05,
    image_bases=20,
    target_bases=3,
    base_size=8,
    offset_epochs=20,
    checkpoint_every=3,
)
COUNT = 6  # plain images, whose bytes are the budget
Distil = Callable[..., DistilledSet]


PROJECTION = torch.randn(16, 4, generator=torch.Generator().manual_seed(2))


def label(views: Tensor, rows: Tensor) -> Tensor:
    """Targets that a network can learn, and that are others when an image is turned."""
    return torch.tanh((views[:, 0, ::4, ::4] - 0.5).flatten(1) @ PROJECTION)


@pytest.fixture
def distil(tiny_images: Images) -> Distil:
    upright = label(tiny_images.pixels.float() / 255, torch.arange(40))
    targets = fit_targets(upright, TargetsConfig(scaling="none"))

    def call(config: BoostSSDD = TINY, **more: Any) -> DistilledSet:
        arguments: dict[str, Any] = {"label": label, "count": COUNT, **more}
        return boost_ssdd(images=tiny_images, targets=targets, config=config, **arguments)

    return call


def assert_same(a: DistilledSet, b: DistilledSet) -> None:
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.targets, b.targets)
    assert torch.equal(a.history["loss"], b.history["loss"])


# The gradient


def small_case(support: int = 0) -> tuple[Factors, Any, Tensor, Tensor]:
    """Factors, a network and real images with their indices, all in float64."""
    draws = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draws)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = convnet_bn(channels=1, size=4, outputs=2, width=3, depth=1).double()
        network.train()(normal(6, 1, 4, 4))  # running statistics that are not 0 and 1
    variables = {
        "image_bases": normal(3, 1, 2, 2),
        "image_coefficients": normal(5, 3),
        "target_bases": normal(2, 2),
        **{coefficients(turns): normal(5, 2) for turns in range(TURNS)},
    }
    factors = Factors(
        variables,
        normal(TURNS, 9, 2),
        size=4,
        ridge=1e-3,
        support=support,
        stage="boost-ssdd",
        seed=0,
    )
    return factors, network.eval(), normal(6, 1, 4, 4), torch.tensor([8, 1, 3, 0, 5, 2])


def plain_loss(
    of: dict[str, Tensor], network: Any, real: Tensor, goal: Tensor, turns: int, penalty: Tensor
) -> Tensor:
    """The outer loss as the paper's formulas have it, in one view."""
    small = torch.einsum("mu,uchw->mchw", of["image_coefficients"], of["image_bases"])
    images = torch.rot90(F.interpolate(small, size=(4, 4), mode="bilinear"), turns, (2, 3))
    targets = of[coefficients(turns)] @ of["target_bases"]
    s, r = (
        torch.cat([f, torch.ones(len(f), 1, dtype=f.dtype)], 1)
        for f in (network.features(images), network.features(torch.rot90(real, turns, (2, 3))))
    )
    if penalty.numel() == 0:
        penalty = 1e-3 * torch.trace(s @ s.T).detach()
    weights = torch.linalg.solve(s @ s.T + penalty * torch.eye(len(s), dtype=s.dtype), targets)
    return (r @ s.T @ weights - goal).square().mean()


def test_the_gradient_is_that_of_the_plain_formula() -> None:
    factors, network, real, index = small_case()
    seen = set()
    for iteration in range(24):
        loss, slopes = factors.gradient(network, real, index, iteration=iteration)
        (name,) = (n for n in slopes if n.startswith("target_coefficients"))
        turns = int(name[-1])
        seen.add(turns)
        leaves = {n: factors.variables[n].clone().requires_grad_() for n in slopes}
        goal = factors.goals[turns][index]
        expected = plain_loss(leaves, network, real, goal, turns, torch.empty(0))
        assert torch.allclose(loss, expected, rtol=1e-9)
        for n, slope in zip(
            leaves, torch.autograd.grad(expected, list(leaves.values())), strict=True
        ):
            assert torch.allclose(slopes[n], slope, rtol=1e-7, atol=1e-12)
            assert slope.abs().max() > 0
    assert seen == {0, 1, 2, 3}  # every view's coefficients get a gradient


@pytest.mark.parametrize("turns", range(TURNS))
def test_the_plain_formula_passes_gradcheck(turns: int) -> None:
    factors, network, real, index = small_case()
    names = ("image_bases", "image_coefficients", "target_bases", coefficients(turns))
    penalty = torch.tensor(0.5, dtype=torch.float64)  # constant for autograd, as released

    def loss(*values: Tensor) -> Tensor:
        of = dict(zip(names, values, strict=True))
        return plain_loss(of, network, real, factors.goals[turns][index], turns, penalty)

    inputs = tuple(factors.variables[n].clone().requires_grad_() for n in names)
    assert torch.autograd.gradcheck(loss, inputs)


def test_support_takes_some_images_and_some_views() -> None:
    factors, network, real, index = small_case(support=2)
    chosen = []
    for iteration in range(12):
        _, slopes = factors.gradient(network, real, index, iteration=iteration)
        moved = slopes["image_coefficients"].abs().sum(1) > 0
        assert int(moved.sum()) == 2
        chosen.append(tuple(moved.tolist()))
        images, targets = factors.training_batch("iteration", iteration)
        assert len(images) == len(targets) == 2
    assert len(set(chosen)) > 1


def test_a_network_trains_on_all_views() -> None:
    factors, *_ = small_case()
    images, targets = factors.training_batch("iteration", 0)
    of = factors.variables
    small = torch.einsum("mu,uchw->mchw", of["image_coefficients"], of["image_bases"])
    upright = F.interpolate(small, size=(4, 4), mode="bilinear")
    for turns in range(TURNS):
        rows = slice(5 * turns, 5 * (turns + 1))
        assert torch.allclose(images[rows], turned(upright, turns))
        assert torch.allclose(targets[rows], of[coefficients(turns)] @ of["target_bases"])
    assert len(images) == 20


# The start


def test_with_all_bases_it_starts_from_the_real_images(
    tiny_images: Images, tiny_targets: Targets
) -> None:
    index = torch.tensor([2, 3, 30])
    goals = torch.stack([tiny_targets.values * (1 + turns) for turns in range(TURNS)])
    shape = FactoredShape(768, 4, 768, image_bases=769, target_bases=5, hidden=4)
    start = starting_point(tiny_images, goals, index, shape=shape, small=16)
    shown = torch.einsum("mu,uchw->mchw", start["image_coefficients"], start["image_bases"])
    assert torch.allclose(shown, tiny_images.normalised(index), atol=1e-3)
    for turns in range(TURNS):
        told = start[coefficients(turns)] @ start["target_bases"]
        assert torch.allclose(told, goals[turns][index], atol=1e-4)


def test_turned_images_are_labelled_as_they_are_turned(
    tiny_images: Images, tiny_targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 7)

    def corner(views: Tensor, rows: Tensor) -> Tensor:
        assert torch.equal(tiny_images.pixels[rows][:, 0, 8, 8] >= 0, torch.ones(len(rows)) > 0)
        return views[:, 0, 0, 0][:, None].expand(-1, 4)

    found = turned_targets(tiny_images, tiny_targets, corner, device="cpu")
    assert torch.equal(found[0], tiny_targets.values)
    pixels = tiny_images.pixels[:, 0].float() / 255
    for turns, (y, x) in {1: (0, -1), 2: (-1, -1), 3: (-1, 0)}.items():  # what comes to the corner
        assert torch.equal(found[turns][:, 0], pixels[:, y, x])


# What it learns


def factored_of(patch: pytest.MonkeyPatch) -> list[Factored]:
    """The factored sets that are made from now on."""
    made: list[Factored] = []
    real = module._factored

    def keep(*arguments: Any) -> Factored:
        made.append(real(*arguments))
        return made[-1]

    patch.setattr(module, "_factored", keep)
    return made


def test_the_set_is_the_factored_one_within_its_bytes(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = factored_of(monkeypatch)
    result = distil()
    (factored,) = made
    plain = 4 * COUNT * (3 * 16 * 16 + 4)
    assert plain - 4 * (20 + 3) < factored.bytes <= plain
    m = len(factored.image_coefficients)
    assert m > COUNT and len(result) == TURNS * m
    images, targets = factored.decode()
    assert torch.equal(result.images, images) and torch.equal(result.targets, targets)
    assert result.images.dtype == result.targets.dtype == torch.float32
    assert result.index is result.initial is None
    assert len(result.history["loss"]) == TINY.iterations


def test_its_file_keeps_the_compact_form_and_gives_the_same_bits(
    distil: Distil, tmp_path: Path
) -> None:
    result = distil(replace(TINY, iterations=2))
    result.save(tmp_path / "set.safetensors")
    again = DistilledSet.load(tmp_path / "set.safetensors")
    assert_same(again, result)
    assert again.coded.keys() == {"images", "targets"}
    stored, _ = storage.load_tensors(tmp_path / "set.safetensors", kind="distilled")
    named = [t for name, t in stored.items() if name.startswith(("images", "targets"))]
    assert sum(t.nbytes for t in named) == result.bytes == again.bytes
    assert result.bytes <= 4 * COUNT * (3 * 16 * 16 + 4) < result.images.nbytes


def test_distilling_lowers_the_loss(distil: Distil) -> None:
    result = distil(replace(TINY, iterations=120, population=3, lifetime=10, lr=0.02))
    loss = result.history["loss"]
    assert loss[-30:].mean() < 0.85 * loss[:30].mean()


def test_bases_and_the_coefficients_of_every_view_are_learnt(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, ends = list[dict[str, Tensor]](), list[dict[str, Tensor]]()
    real = regression_loop.learn

    def watch(learnt: Factors, **more: Any) -> Tensor:
        starts.append({name: t.clone() for name, t in learnt.variables.items()})
        losses = real(learnt, **more)
        ends.append(learnt.variables)
        return losses

    monkeypatch.setattr(module, "learn", watch)
    distil(replace(TINY, iterations=20))
    assert all(not torch.equal(starts[0][name], ends[0][name]) for name in starts[0])
    assert len(starts[0]) == 3 + TURNS


def test_turned_images_have_targets_of_their_own(distil: Distil) -> None:
    targets = distil(replace(TINY, offset_epochs=300)).targets.unflatten(0, (-1, TURNS))
    for turns in range(1, TURNS):
        assert (targets[:, turns] - targets[:, 0]).abs().mean() > 0.05


def test_draws_depend_on_the_seed_and_nothing_else(distil: Distil) -> None:
    first = distil()
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert_same(distil(), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(distil(seed=1).images, first.images)


# Resuming


class Interrupted(Exception):
    pass


def interrupt_after(calls: int, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    real = getattr(owner, name)
    left = iter(range(calls))

    def once_more(*arguments: Any, **more: Any) -> Any:
        if next(left, None) is None:
            raise Interrupted
        return real(*arguments, **more)

    patch.setattr(owner, name, once_more)


@pytest.mark.parametrize("support", [0, 5])
@pytest.mark.parametrize("calls", [1, 4, 5, 8])
def test_resumed_is_bit_equal_to_unbroken(
    calls: int, support: int, distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = replace(TINY, support=support), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(calls, patch, factors_module, "outer_gradient")
        distil(config, state=state)
    torch.manual_seed(99)  # the global generators have no say
    with monkeypatch.context() as patch:
        interrupt_after(9 - (calls - 1) // 3 * 3, patch, factors_module, "outer_gradient")
        resumed = distil(config, state=state)  # from the last checkpoint, and no further back
    assert_same(resumed, distil(config))


def test_resumed_in_the_middle_of_the_first_training_is_bit_equal(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = replace(TINY, population=4, support=5), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(2, patch, Population, "grow")
        distil(config, state=state)
    with monkeypatch.context() as patch:
        interrupt_after(2, patch, Population, "grow")
        resumed = distil(config, state=state)
    assert_same(resumed, distil(config))


# What is refused


def test_bases_that_take_all_bytes_are_refused(distil: Distil) -> None:
    with pytest.raises(DecoctError, match=r"bases .* more bytes than 1 plain images; lower boost"):
        distil(count=1)


def test_as_many_targets_as_images_are_needed(tiny_images: Images, tiny_targets: Targets) -> None:
    with pytest.raises(DecoctError, match="40 targets for 39 images"):
        boost_ssdd(
            images=tiny_images.subset(torch.arange(39)),
            targets=tiny_targets,
            label=lambda views, rows: views[:, 0, 0, :4],
            count=COUNT,
            config=TINY,
        )


def test_a_population_that_diverges_names_the_setting(distil: Distil) -> None:
    with pytest.raises(DecoctError, match=r"network \d diverged; lower boost_ssdd\.network_lr"):
        distil(replace(TINY, network_lr=1e30))


def test_bases_are_no_more_than_span_everything() -> None:
    sizes = Sizes(pool=99, images=90, count=200, channels=1, size=8, dimensions=5)
    shape = BoostSSDD().shape(sizes)
    assert (shape.image_bases, shape.target_bases, shape.small_pixels) == (65, 6, 64)
    assert BoostSSDD().images(sizes) == 90  # no more than there are


def test_a_budget_of_bytes_is_that_of_plain_images() -> None:
    sizes = Sizes(pool=99, images=90, count=0, channels=3, size=16, dimensions=4)
    assert TINY.images_in(10 * 4 * (768 + 4) + 1, sizes) == 10
    with pytest.raises(DecoctError, match="more bytes than 5 plain images"):
        replace(TINY, image_bases=60, base_size=16).images_in(5 * 4 * (768 + 4), sizes)


# In a run


@pytest.fixture
def recipe(tmp_path: Path, tiny_images: Images, tiny_targets: Targets) -> Recipe:
    np.savez(tmp_path / "pool.npz", images=tiny_images.pixels.numpy())
    np.save(tmp_path / "targets.npy", tiny_targets.values.numpy())
    return (
        Recipe(
            method="boost-ssdd",
            device="cpu",
            data=str(tmp_path),
            size=COUNT,
            images=ImagesConfig("pool.npz", size=16),
            targets=TargetsConfig(source="targets.npy"),
            pretrain=PretrainConfig(network=NetworkConfig(width=4, depth=2), epochs=1),
            compare=CompareConfig(methods=("boost-ssdd",), tasks=(), seeds=1),
        )
        .having(boost_ssdd=TINY)
        .set("assistant.epochs", 1)
    )


@pytest.mark.parametrize("labels", ["assistant", "image"])
def test_a_run_with_targets_from_a_file(labels: str, recipe: Recipe, tmp_path: Path) -> None:
    run = Run(recipe.set("boost_ssdd.labels", labels), tmp_path / "run")
    run.check()
    distilled = run.distilled("boost-ssdd", 0)
    facts = run.facts("boost-ssdd")
    assert len(distilled) == TURNS * facts["images"]
    assert facts["bytes"] == distilled.bytes <= 4 * COUNT * (3 * 16 * 16 + 4)
    assert run.encoder("boost-ssdd", 0).network.feature_count == 64
    assert bool(list((tmp_path / "run").glob("assistant-*"))) == (labels == "assistant")
    assert not list((tmp_path / "run").rglob("state.safetensors"))


def test_the_doctor_says_what_it_takes(recipe: Recipe) -> None:
    with_task = recipe.set("compare.tasks", ("emoji",))
    sizes = measure_sizes(with_task)
    assert sizes is not None
    stages = Graph(with_task).of_a_run()
    assert stage_seconds(stages, sizes, torch.device("cpu"))["distilling (boost-ssdd)"] > 0
    found = memory(stages, sizes)
    m = TINY.images(sizes)
    assert found["kernels of boost-ssdd"] >= 8 * m**2
    assert found["targets of turned images"] == 4 * TURNS * 40 * 4
    support = memory(Graph(with_task.set("boost_ssdd.support", 5)).of_a_run(), sizes)
    for what in ("kernels of boost-ssdd", "networks and step of boost-ssdd"):
        assert support[what] < found[what]
