"""Learn a set by kernel ridge regression on a population of networks that train on it.

FRePo (Zhou, Nezhadarya & Ba, NeurIPS 2022), KRR-ST (Lee et al., ICLR 2024) and Boost-SSDD (Yu et
al., ICLR 2025) take these iterations; each says in a `Learnt` what it learns.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.core import checkpoint, seeding
from decoct.core.console import note, progress
from decoct.core.device import arithmetic
from decoct.core.errors import DecoctError
from decoct.core.forms import understood
from decoct.core.metrics import Metrics
from decoct.core.shapes import Index, Pictures, Rows, Scalar
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.methods.method import section_of
from decoct.methods.regressed import Regressed
from decoct.models.network import Network
from decoct.models.registry import create_network
from decoct.training.population import Population

Slopes = dict[str, Tensor]  # by the variable's name; none for a variable that stays as it is


class Learnt(ABC):
    """What is learnt, by name, and what an iteration does with it."""

    variables: dict[str, Tensor]  # without gradients; changed in place

    @abstractmethod
    def gradient(
        self, network: Network, real: Pictures, index: Index, *, iteration: int
    ) -> tuple[Scalar, Slopes]:
        """The loss of predicting the targets of the real images at `index`, and its slopes."""

    @abstractmethod
    def training_batch(self, *step: str | int) -> tuple[Pictures, Rows]:
        """The images and targets of a network's step; `step` seeds what is drawn for it."""


def learn(
    learnt: Learnt,
    *,
    images: Images,
    dimensions: int,
    config: Regressed,
    seed: int,
    device: torch.device,
    state: Path | None,
    metrics: Path | None,
) -> Tensor:
    """Take the iterations; returns the loss of each.

    A network that has taken `lifetime` steps is re-initialised, untrained, with its counter at 0;
    only the initial networks start at ages drawn from [1, lifetime).

    `state` is the checkpoint's path; if one exists, learning resumes from it, bit-identically. If
    the loss becomes non-finite, it stops with the last good state. Raises `DecoctError` if a
    network diverges, or the very first loss is not finite.
    """
    population = _population(images, dimensions, config, seed, device)
    course = _Course(learnt, population, weight_decay=config.weight_decay)
    saved = checkpoint.load(state)
    if saved is not None:
        with understood(state):
            course.restore(*saved)
    with arithmetic(config.precision):
        course.fill_population(config, state)
        _iterate(course, images.to(device), config, seed, device, state, Metrics(metrics))
    return torch.tensor(course.losses)


class _Course:
    """How far learning has come: variables, their optimiser, the networks, all losses."""

    def __init__(self, learnt: Learnt, population: Population, *, weight_decay: float) -> None:
        self.learnt, self.population = learnt, population
        variables = list(learnt.variables.values())
        self.optimiser = torch.optim.AdamW(variables, weight_decay=weight_decay)
        self.losses: list[float] = []
        self._good = self._copy()

    def fill_population(self, config: Regressed, state: Path | None) -> None:
        """Train the networks that are still missing, with a checkpoint after each."""
        done = len(self.population)
        with progress(f"{config.name}, networks", total=config.population, done=done) as advance:
            while len(self.population) < config.population:
                k = len(self.population)
                self.population.grow(partial(self.learnt.training_batch, "network", k))
                self.save(state)
                advance(f"{self.population.ages[-1]} steps")

    def step(self, loss: Scalar, slopes: Slopes, *, lr: float) -> None:
        """Take and record one step along the gradient."""
        self._good = self._copy()
        self.losses.append(loss.item())
        for name, variable in self.learnt.variables.items():
            variable.grad = slopes.get(name)
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.step()

    def back_to_last_good(self) -> None:
        """Undo the step that led to a non-finite loss."""
        for name, variable in self.learnt.variables.items():
            variable.copy_(self._good[name])

    def _copy(self) -> dict[str, Tensor]:
        return {name: variable.clone() for name, variable in self.learnt.variables.items()}

    def save(self, path: Path | None) -> None:
        """Write a checkpoint, if there is a path for one."""
        if path is not None:
            tensors = {**self.learnt.variables, **self.population.tensors()}
            tensors |= checkpoint.optimiser_tensors("optimiser", self.optimiser)
            checkpoint.save(
                path, tensors, meta={"losses": self.losses, "ages": self.population.ages}
            )

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        for name, variable in self.learnt.variables.items():
            checkpoint.restore(variable, tensors[name])
        checkpoint.restore_optimiser("optimiser", self.optimiser, tensors)
        self.population.restore(tensors, meta["ages"])
        self.losses, self._good = meta["losses"], self._copy()


def _population(
    images: Images, dimensions: int, config: Regressed, seed: int, device: torch.device
) -> Population:
    def create() -> Network:
        return create_network(
            config.network, channels=images.channels, size=images.size, outputs=dimensions
        ).to(device)

    sgd = partial(
        torch.optim.SGD,
        lr=config.network_lr,
        momentum=config.network_momentum,
        weight_decay=config.network_weight_decay,
    )
    return Population(
        create,
        sgd,
        lifetime=config.lifetime,
        reset_counter=config.reset_counter,
        stage=config.name,
        seed=seed,
    )


def _iterate(
    course: _Course,
    images: Images,
    config: Regressed,
    seed: int,
    device: torch.device,
    state: Path | None,
    log: Metrics,
) -> None:
    population, done = course.population, len(course.losses)
    batches = _batches(len(images), config, seed, done)
    with progress(f"{config.name}, iterations", total=config.iterations, done=done) as advance:
        for iteration, (index, real) in enumerate(stream(images, batches, device=device), done):
            draws = seeding.generator(seed, config.name, iteration)
            k = int(torch.randint(config.population, (), generator=draws))
            network = population.networks[k]
            loss, slopes = course.learnt.gradient(network, real, index, iteration=iteration)
            if not all(bool(tensor.isfinite().all()) for tensor in (loss, *slopes.values())):
                _not_finite(course, config, iteration)
                return
            if iteration > done and iteration % config.checkpoint_every == 0:
                course.save(state)  # before the step: this state is known to be good
            log.write(iteration=iteration, loss=loss.item(), network=k, age=population.ages[k])
            course.step(loss, slopes, lr=config.lr * (1 - iteration / config.iterations))
            batch = partial(course.learnt.training_batch, "iteration", iteration)
            population.advance(k, batch, iteration=iteration)
            advance(f"loss {course.losses[-1]:.4g}")


def _not_finite(course: _Course, config: Regressed, iteration: int) -> None:
    """Go back to the state before the step that led here; there is none before the first."""
    if iteration == 0:
        setting = f"{section_of(type(config))}.network_lr"
        raise DecoctError(f"{config.name}'s first loss is not finite; lower {setting}")
    note(f"{config.name}: non-finite loss at iteration {iteration}; kept the state before it")
    course.back_to_last_good()


def _batches(count: int, config: Regressed, seed: int, done: int) -> Iterator[Tensor]:
    """A batch of indices of real images, without replacement, for each remaining iteration."""
    for iteration in range(done, config.iterations):
        draws = seeding.generator(seed, config.name, iteration, "batch")
        yield torch.randperm(count, generator=draws)[: config.batch]
