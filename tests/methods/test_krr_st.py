"""KRR-ST solves its equations, lowers its loss, re-initialises networks on time, and resumes."""

import json
import math
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
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets, TargetsConfig
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.matching.kernel_ridge import outer_gradient, predict, ridge_penalty, with_bias
from decoct.methods import krr_st as module
from decoct.methods import regression_loop
from decoct.methods.krr_st import KRRST, krr_st
from decoct.methods.registry import METHODS
from decoct.models.convnet_bn import convnet_bn
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.recipe import CompareConfig, ImagesConfig, Recipe
from decoct.run.sizes import measure_sizes, memory
from decoct.run.timing import stage_seconds
from decoct.training.population import Population
from decoct.training.pretrain import PretrainConfig

START = torch.tensor([1, 4, 7, 10, 13, 16, 19, 22])
TINY = KRRST(
    iterations=9,
    batch=16,
    lr=0.02,
    network=NetworkConfig(name="convnet-bn", width=4, depth=2),
    population=2,
    lifetime=3,
    network_lr=0.05,
    checkpoint_every=3,
)
Distil = Callable[..., DistilledSet]


@pytest.fixture
def distil(tiny_images: Images, tiny_targets: Targets) -> Distil:
    def call(config: KRRST = TINY, **more: Any) -> DistilledSet:
        arguments: dict[str, Any] = {"index": START, **more}
        return krr_st(images=tiny_images, targets=tiny_targets, config=config, **arguments)

    return call


def test_one_of_several_processes_says_that_it_makes_the_set_alone(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(regression_loop, "note", said.append)
    distil(replace(TINY, iterations=1))
    assert said == []
    monkeypatch.setattr(regression_loop.ranks, "started_together", lambda: True)
    distil(replace(TINY, iterations=1))
    assert said == ["krr-st: its pool of networks is not divided; one process makes this set"]


def assert_same(a: DistilledSet, b: DistilledSet) -> None:
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.targets, b.targets)
    assert torch.equal(a.history["loss"], b.history["loss"])


# The closed form and its gradient


@pytest.mark.parametrize("count, features", [(5, 11), (20, 4)])
def test_the_closed_form_is_numpys(count: int, features: int) -> None:
    draw = np.random.default_rng(0)
    real, synthetic = draw.normal(size=(7, features)), draw.normal(size=(count, features))
    targets = draw.normal(size=(count, 3))
    kernel = synthetic @ synthetic.T
    penalty = 1e-6 * np.trace(kernel)
    expected = (real @ synthetic.T) @ np.linalg.solve(kernel + penalty * np.eye(count), targets)
    a, b, y = map(torch.from_numpy, (real, synthetic, targets))
    found = ridge_penalty(b, ridge=1e-6)
    assert float(found) == pytest.approx(penalty, rel=1e-12)
    assert np.allclose(predict(a, b, y, penalty=found).numpy(), expected, rtol=1e-7, atol=1e-9)


def small_case() -> tuple[Network, Tensor, Tensor, Tensor, Tensor]:
    """A network in float64, images, targets, real images and their goal."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = convnet_bn(channels=1, size=4, outputs=2, width=3, depth=1).double()
        real = torch.randn(6, 1, 4, 4, dtype=torch.float64)
        network.train()(real)  # running statistics that are not 0 and 1
        x = torch.randn(3, 1, 4, 4, dtype=torch.float64)
        y, goal = (torch.randn(n, 2, dtype=torch.float64) for n in (3, 6))
        return network.eval(), x, y, real, goal


def test_the_gradient_is_that_of_the_loss() -> None:
    network, x, y, real, goal = small_case()
    seen = with_bias(network.features(real)).detach()
    penalty = ridge_penalty(with_bias(network.features(x)), ridge=1e-3)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(predict(seen, with_bias(network.features(x)), y, penalty=penalty), goal)

    inputs = (x.clone().requires_grad_(), y.clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
    expected = loss(*inputs)
    found = outer_gradient(network, x, y, real=real, goal=goal, ridge=1e-3)
    slopes = torch.autograd.grad(expected, inputs)
    for mine, theirs in zip(found, (expected, *slopes), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-9)
    assert all(p.grad is None for p in network.parameters())


def test_features_that_are_not_finite_give_a_loss_that_is_not() -> None:
    network, x, y, real, goal = small_case()
    x[1, 0, 2, 2] = math.nan
    loss, _, _ = outer_gradient(network, x, y, real=real, goal=goal, ridge=1e-6)
    assert not loss.isfinite()


# What it learns


def test_distilling_lowers_the_loss_of_networks_it_never_saw(
    distil: Distil, tiny_images: Images, tiny_targets: Targets
) -> None:
    result = distil(replace(TINY, iterations=60, population=3, lifetime=10))
    real = tiny_images.normalised()
    with torch.random.fork_rng():
        torch.manual_seed(99)
        networks = [create_network(TINY.network, channels=3, size=16, outputs=4) for _ in range(4)]

    def loss(images: Tensor, targets: Tensor) -> float:
        goal = tiny_targets.values
        values = [
            outer_gradient(n.eval(), images, targets, real=real, goal=goal, ridge=1e-6)[0]
            for n in networks
        ]
        return float(torch.stack(values).mean())

    before = loss(real[START], tiny_targets.values[START])
    assert loss(result.images, result.targets) < 0.8 * before


def test_the_set_is_one_like_any_other(distil: Distil, tiny_images: Images) -> None:
    result = distil()
    assert result.method == "krr-st" and result.network == TINY.network
    assert result.initial is not None and result.index is not None
    assert torch.equal(result.initial, tiny_images.normalised(START))
    assert not torch.equal(result.images, result.initial)
    assert len(result.history["loss"]) == TINY.iterations
    assert result.rule == TrainingRule(lr=0.1, momentum=0.9, weight_decay=1e-4, batch=256)
    assert result.images.dtype == result.targets.dtype == torch.float32


def test_the_rate_falls_linearly(distil: Distil, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    real_step = regression_loop._Course.step

    def record(self: Any, *gradient: Any, lr: float, network: int) -> None:
        rates.append(lr)
        real_step(self, *gradient, lr=lr, network=network)

    monkeypatch.setattr(regression_loop._Course, "step", record)
    distil()
    assert rates == pytest.approx([TINY.lr * (9 - i) / 9 for i in range(9)])


# Draws


def seen_by_outer(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Network, Tensor, Tensor]]:
    """Network, images and goal of each iteration, as they are gone through."""
    seen: list[tuple[Network, Tensor, Tensor]] = []
    real = module.outer_gradient

    def record(network: Network, images: Tensor, targets: Tensor, **more: Any) -> Any:
        assert not network.training
        seen.append((network, images.clone(), more["goal"]))
        return real(network, images, targets, **more)

    monkeypatch.setattr(module, "outer_gradient", record)
    return seen


def test_iterations_take_other_networks_and_other_images(
    distil: Distil, tiny_targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_by_outer(monkeypatch)
    distil(replace(TINY, lifetime=50))  # nobody dies
    assert len({id(network) for network, _, _ in seen}) == TINY.population
    rows = [
        [int((tiny_targets.values == value).all(1).nonzero()[0]) for value in goal]
        for _, _, goal in seen
    ]
    assert all(len(set(row)) == len(row) == TINY.batch for row in rows)
    assert len({tuple(row) for row in rows}) == len(rows)


def test_draws_depend_on_the_seed_and_nothing_else(distil: Distil) -> None:
    first = distil()
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert_same(distil(), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(distil(seed=1).images, first.images)


def test_a_batch_larger_than_the_pool_of_images_is_all_of_it(distil: Distil) -> None:
    assert len(distil(replace(TINY, iterations=1, batch=1000)).history["loss"]) == 1


# The population


@pytest.mark.parametrize("reset", [True, False])
def test_networks_are_made_anew_when_their_steps_are_used_up(
    reset: bool, distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Network] = []

    def count(*arguments: Any, **more: Any) -> Network:
        made.append(create_network(*arguments, **more))
        return made[-1]

    monkeypatch.setattr(regression_loop, "create_network", count)
    file = tmp_path / "metrics.jsonl"
    config = replace(TINY, iterations=14, population=1, reset_counter=reset)
    distil(config, metrics=file)
    ages = [json.loads(line)["age"] for line in file.read_text().splitlines()]
    first = ages[0]
    assert first in (1, 2)
    until = 3 - first  # visits before the one that ends the first life
    if reset:
        assert ages == [*range(first, 4), *([0, 1, 2, 3] * 4)][:14]
        renewals = len(range(until, 14, 4))  # three steps, and the visit that ends a life
    else:
        assert ages == [*range(first, 4), *([3] * 14)][:14]
        renewals = 14 - until  # at every visit
    assert len(made) == 1 + renewals
    assert renewals >= 3


def test_a_network_of_the_population_is_one_trained_by_sgd_on_the_whole_set() -> None:
    network = NetworkConfig(name="convnet-bn", width=2, depth=1)
    made: list[Network] = []

    def create() -> Network:
        made.append(create_network(network, channels=1, size=4, outputs=2))
        return made[-1]

    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3)

    x, y = torch.randn(5, 1, 4, 4), torch.randn(5, 2)
    population = Population(create, sgd, lifetime=5, stage="krr-st", seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Population, "_train", lambda *_: None)
        population.grow(lambda step: (x, y))
    copy = create_network(network, channels=1, size=4, outputs=2)
    copy.load_state_dict(made[0].state_dict())
    optimiser = sgd(copy.parameters())
    for _ in range(3):
        population._train(0, x, y)
        optimiser.zero_grad()
        (copy(x) - y).square().mean().backward()
        optimiser.step()
    found, expected = population.networks[0].state_dict(), copy.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    assert int(found["body.1.num_batches_tracked"]) == 3


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


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("calls", [1, 4, 5, 7])
def test_resumed_is_bit_equal_to_unbroken(
    calls: int, reset: bool, distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = replace(TINY, reset_counter=reset), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(calls, patch, module, "outer_gradient")
        distil(config, state=state)
    torch.manual_seed(99)  # the global generators have no say
    with monkeypatch.context() as patch:
        interrupt_after(9 - (calls - 1) // 3 * 3, patch, module, "outer_gradient")
        resumed = distil(config, state=state)  # from the last checkpoint, and no further back
    assert_same(resumed, distil(config))


def test_resumed_in_the_middle_of_the_first_training_is_bit_equal(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = replace(TINY, population=4), tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(2, patch, Population, "grow")
        distil(config, state=state)
    with monkeypatch.context() as patch:
        interrupt_after(2, patch, Population, "grow")
        resumed = distil(config, state=state)
    assert_same(resumed, distil(config))


def test_a_damaged_checkpoint_starts_afresh(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt_after(5, patch, module, "outer_gradient")
        distil(state=state)
    state.write_bytes(state.read_bytes()[:-10])
    assert_same(distil(state=state), distil())


# Non-finite losses


def not_finite_at(
    iteration: int, part: int, patch: pytest.MonkeyPatch, *, times: int = 1000
) -> dict[int, Tensor]:
    """Let part (loss, images, targets) of an iteration's gradient be nan, so many times.

    Returns the images at each iteration.
    """
    real, left, images = module._Set.gradient, [times], dict[int, Tensor]()

    def broken(self: Any, *given: Any, iteration: int) -> Any:
        images[iteration] = self.images.clone()
        loss, slopes = real(self, *given, iteration=iteration)
        if iteration != at or not left[0]:
            return loss, slopes
        left[0] -= 1
        values = [loss, *slopes.values()]
        values[part] = values[part] * math.nan
        return values[0], dict(zip(slopes, values[1:], strict=True))

    at = iteration
    patch.setattr(module._Set, "gradient", broken)
    return images


@pytest.mark.parametrize("part", [0, 1, 2])
def test_non_finite_stops_with_the_last_good_state(
    part: int, distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = not_finite_at(3, part, monkeypatch)
    result = distil()
    # Finite at iterations 0, 1, 2; the third step led astray and is undone.
    assert len(result.history["loss"]) == 3
    assert torch.equal(result.images, images[2])
    assert result.targets.isfinite().all()


def test_what_is_not_finite_only_once_leaves_no_trace(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil()
    not_finite_at(3, 1, monkeypatch, times=1)
    assert_same(distil(), whole)


def test_non_finite_at_once_is_an_error(distil: Distil, monkeypatch: pytest.MonkeyPatch) -> None:
    not_finite_at(0, 0, monkeypatch)
    with pytest.raises(DecoctError, match=r"first loss is not finite.*krr_st\.network_lr"):
        distil()


def test_a_population_that_diverges_is_noticed_before_work(distil: Distil) -> None:
    with pytest.raises(DecoctError, match=r"network \d diverged; lower krr_st\.network_lr"):
        distil(replace(TINY, population=4, lifetime=20, network_lr=1e30))


# Bad input


@pytest.mark.parametrize(
    "name, value",
    [
        ("iterations", 0),
        ("batch", 0),
        ("population", 0),
        ("lifetime", 1),
        ("checkpoint_every", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("network_lr", -0.1),
        ("network_lr", math.inf),
        ("weight_decay", -1.0),
        ("network_weight_decay", math.nan),
        ("network_momentum", 1.0),
        ("network_momentum", -0.1),
        ("ridge", 0.0),
        ("ridge", 1e-13),
        ("ridge", math.nan),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(DecoctError, match=rf"krr_st\.{name} is"):
        KRRST(**{name: value})  # type: ignore[arg-type]


def test_a_set_of_nothing_and_targets_of_other_images_are_refused(
    distil: Distil, tiny_images: Images, tiny_targets: Targets
) -> None:
    with pytest.raises(DecoctError, match="0 images"):
        distil(index=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DecoctError, match="40 targets for 39 images"):
        krr_st(images=tiny_images.subset(torch.arange(39)), targets=tiny_targets, index=START)


# In a run


@pytest.fixture
def recipe(tmp_path: Path, tiny_images: Images, tiny_targets: Targets) -> Recipe:
    np.savez(tmp_path / "pool.npz", images=tiny_images.pixels.numpy())
    np.save(tmp_path / "targets.npy", tiny_targets.values.numpy())
    return Recipe(
        method="krr-st",
        device="cpu",
        data=str(tmp_path),
        size=8,
        images=ImagesConfig("pool.npz", size=16),
        targets=TargetsConfig(source="targets.npy"),
        pretrain=PretrainConfig(network=NetworkConfig(width=4, depth=2), epochs=1),
        compare=CompareConfig(methods=("krr-st",), tasks=(), seeds=1),
    ).having(krr_st=TINY)


def test_a_run_distils_and_pretrains_without_experts(recipe: Recipe, tmp_path: Path) -> None:
    run = Run(recipe, tmp_path / "run")
    run.check()
    distilled = run.distilled("krr-st", 0)
    assert distilled.method == "krr-st" and len(distilled) == 8
    assert distilled.rule == recipe.rule
    assert distilled.index is not None
    assert torch.equal(distilled.index, run.distilled("random", 0).index)
    assert run.encoder("krr-st", 0).network.feature_count == 64
    assert run.facts("krr-st")["bytes"] == 4 * 8 * (3 * 16 * 16 + 4)
    assert not list((tmp_path / "run").glob("experts-*"))
    assert not list((tmp_path / "run").rglob("state.safetensors"))


def test_its_settings_make_its_set_afresh_and_no_other(recipe: Recipe) -> None:
    same, changed = Graph(recipe), Graph(recipe.set("krr_st.lr", 0.01))
    assert same.key("krr-st-seed0") != changed.key("krr-st-seed0")
    assert same.key("krr-st-seed0") != same.key("krr-st-seed1")
    assert same.key("mkdt-seed0") == changed.key("mkdt-seed0")
    assert same.key("random-seed0") == changed.key("random-seed0")


def test_the_doctor_says_what_it_takes(recipe: Recipe) -> None:
    with_task = recipe.set("compare.tasks", ("emoji",))
    stages = Graph(with_task).of_a_run()
    sizes = measure_sizes(with_task)
    assert sizes is not None
    assert stage_seconds(stages, sizes, torch.device("cpu"))["distilling (krr-st)"] > 0
    network = create_network(TINY.network, channels=3, size=16, outputs=4)
    parameters = sum(p.numel() for p in network.parameters())
    least = 4 * 2 * TINY.population * parameters
    assert least < memory(stages, sizes)["networks and step of krr-st"] < 100 * least


def test_it_is_known_and_not_among_those_compared_unasked() -> None:
    assert "krr-st" not in CompareConfig().methods
    assert set(CompareConfig().methods) <= set(METHODS)
    assert CompareConfig(methods=("krr-st",)).methods == ("krr-st",)


def test_a_network_that_its_images_are_too_small_for_is_found_early(
    recipe: Recipe, tmp_path: Path
) -> None:
    deep = replace(TINY, network=NetworkConfig(name="convnet-bn", depth=5))
    with pytest.raises(DecoctError, match="depth 5 halves 16 px to nothing"):
        Run(recipe.having(krr_st=deep), tmp_path / "run").check()
