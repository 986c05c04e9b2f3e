"""Learn a set by kernel ridge regression on a population of networks that train on it.

FRePo (Zhou, Nezhadarya & Ba, NeurIPS 2022), KRR-ST (Lee et al., ICLR 2024) and Boost-SSDD (Yu et
al., ICLR 2025) take these iterations; each says in a `Learnt` what it learns.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.core import checkpoint, failing_step, ranks, seeding
from decoct.core.console import note, progress
from decoct.core.device import arithmetic
from decoct.core.errors import DivergedError
from decoct.core.failing_step import FiniteThisTime
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

    `state` is the checkpoint's path; if one exists, learning resumes from it, bit-identically.
    Numbers that are not finite make it go back to the last good state and try again; if they come
    again, it stops there, and the state before the failing iteration is kept beside `state`. Raises
    `DivergedError` if a network diverges at first, or the very first iteration is not finite.
    """
    if ranks.started_together():
        note(f"{config.name}: its pool of networks is not divided; one process makes this set")
    population = _population(images, dimensions, config, seed, device)
    course = _Course(learnt, population, weight_decay=config.weight_decay)
    saved = checkpoint.load(state)
    if saved is not None:
        with understood(state):
            course.restore(*saved)
    with arithmetic(config.precision):
        course.fill_population(config, state)
        iterations = _Iterations(
            course, images.to(device), config, seed, device, state, Metrics(metrics)
        )
        if saved is not None and failing_step.is_kept(saved[1]):
            iterations.repeat()
        iterations.to_the_end()
    return torch.tensor(course.losses)


class _Course:
    """How far learning has come: variables, their optimiser, the networks, all losses."""

    def __init__(self, learnt: Learnt, population: Population, *, weight_decay: float) -> None:
        self.learnt, self.population = learnt, population
        variables = list(learnt.variables.values())
        self.optimiser = torch.optim.AdamW(variables, weight_decay=weight_decay)
        self.losses: list[float] = []
        self._remember()

    def fill_population(self, config: Regressed, state: Path | None) -> None:
        """Train the networks that are still missing, with a checkpoint after each."""
        done = len(self.population)
        with progress(f"{config.name}, networks", total=config.population, done=done) as advance:
            while len(self.population) < config.population:
                k = len(self.population)
                self.population.grow(partial(self.learnt.training_batch, "network", k))
                self.save(state)
                advance(f"{self.population.ages[-1]} steps")

    def step(self, loss: Scalar, slopes: Slopes, *, lr: float, network: int = 0) -> None:
        """Take and record one step along the gradient, found with one of the networks."""
        self._remember(network)
        self.losses.append(loss.item())
        for name, variable in self.learnt.variables.items():
            variable.grad = slopes.get(name)
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.step()

    def is_finite(self, network: int) -> bool:
        """Whether what was learnt is finite, and this network."""
        return failing_step.all_finite(self._own().values()) and self.population.is_finite(network)

    def back_to_last_good(self, *, done: int | None = None) -> None:
        """Undo the iteration that led to numbers that are not finite; `done` losses stay."""
        tensors, k, network = self._good
        self._restore(tensors)
        if network is not None:
            self.population.restore_network(k, *network)
        del self.losses[self.good_at if done is None else done :]

    def _remember(self, network: int | None = None) -> None:
        """Keep the state whose loss is known to be finite, and the network that will change."""
        self.good_at, k = len(self.losses), network or 0
        kept = None if network is None else self.population.network_state(k)
        self._good = {name: tensor.clone() for name, tensor in self._own().items()}, k, kept

    def _own(self) -> dict[str, Tensor]:
        """The variables and their moments."""
        moments = checkpoint.optimiser_tensors("optimiser", self.optimiser)
        return {**self.learnt.variables, **moments}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint keeps."""
        meta = {"losses": self.losses, "ages": self.population.ages}
        return {**self._own(), **self.population.tensors()}, meta

    def save(self, path: Path | None) -> None:
        """Write a checkpoint, if there is a path for one."""
        if path is not None:
            tensors, meta = self.state()
            checkpoint.save(path, tensors, meta=meta)

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Resume from a checkpoint."""
        self._restore(tensors)
        self.population.restore(tensors, meta["ages"])
        self.losses = meta["losses"]
        self._remember()

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, variable in self.learnt.variables.items():
            checkpoint.restore(variable, tensors[name])
        moments = {n: t.clone() for n, t in tensors.items() if n.startswith("optimiser.")}
        checkpoint.restore_optimiser("optimiser", self.optimiser, moments)


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


@dataclass(frozen=True)
class _Iterations:
    """Steps of what is learnt, with a way back from numbers that are not finite."""

    course: _Course
    images: Images
    config: Regressed
    seed: int
    device: torch.device
    state: Path | None
    log: Metrics

    def to_the_end(self) -> None:
        """Run the remaining iterations, or stop at one that is not finite twice."""
        back, name = self.course.back_to_last_good, self.config.name
        failed = failing_step.retried(self._go_on, back=back, label=name)
        if failed is not None:
            self._stop(failed)

    def _go_on(self) -> int | None:
        """Iterate up to an iteration that is not finite, which is returned, or to the end."""
        course, config, done = self.course, self.config, len(self.course.losses)
        with progress(f"{config.name}, iterations", total=config.iterations, done=done) as advance:
            for iteration, real in self._real_images(done):
                keep = iteration > done and iteration % config.checkpoint_every == 0
                if not self._iterate(iteration, *real, keep=keep):
                    return iteration
                advance(f"loss {course.losses[-1]:.4g}")
        return None

    def _real_images(self, done: int) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        """The real images of each remaining iteration, with their index."""
        batches = _batches(len(self.images), self.config, self.seed, done)
        return enumerate(stream(self.images, batches, device=self.device), done)

    def _iterate(self, iteration: int, index: Tensor, real: Tensor, *, keep: bool = False) -> bool:
        """Take a step if its gradient is finite; returns whether all is."""
        course, config = self.course, self.config
        draws = seeding.generator(self.seed, config.name, iteration)
        k = int(torch.randint(config.population, (), generator=draws))
        network = course.population.networks[k]
        loss, slopes = course.learnt.gradient(network, real, index, iteration=iteration)
        if not failing_step.all_finite([loss, *slopes.values()]):
            return False
        if keep:
            course.save(self.state)  # before the step: this state is known to be good
        age = course.population.ages[k]
        course.step(loss, slopes, lr=config.lr * (1 - iteration / config.iterations), network=k)
        batch = partial(course.learnt.training_batch, "iteration", iteration)
        course.population.advance(k, batch, iteration=iteration)
        if not course.is_finite(k):
            return False
        self.log.write(iteration=iteration, loss=course.losses[-1], network=k, age=age)
        return True

    def repeat(self) -> None:
        """Take the iteration that was kept, and raise whether it is finite or not."""
        iteration, real = next(self._real_images(len(self.course.losses)))
        if self._iterate(iteration, *real):
            raise FiniteThisTime(f"iteration {iteration}")
        raise DivergedError(f"{self.config.name} is not finite ({self._keep(iteration)})")

    def _stop(self, iteration: int) -> None:
        """Go back to the last good state; raise if there is none, because nothing was learnt."""
        stepped = len(self.course.losses) > iteration
        name, said = self.config.name, self._keep(iteration)
        if iteration == 0:
            what, lower = ("step", "lr") if stepped else ("loss", "network_lr")
            setting = f"{section_of(type(self.config))}.{lower}"
            raise DivergedError(f"{name}'s first {what} is not finite; lower {setting} ({said})")
        note(f"{name}: not finite again; kept the set before it ({said})")

    def _keep(self, iteration: int) -> str:
        """Keep the state before an iteration, say so, and go back to the last good state."""
        course = self.course
        if len(course.losses) > iteration:  # its gradient was finite, but not the step
            course.back_to_last_good(done=iteration)
        _, real = next(self._real_images(iteration))
        tensors, meta = copy.deepcopy(course.state())
        said = failing_step.keep(
            self.state,
            tensors,
            meta=meta,
            step=f"iteration {iteration}",
            where=failing_step.where_not_finite(lambda: self._iterate(iteration, *real)),
        )
        course.back_to_last_good(done=iteration)
        return said


def _batches(count: int, config: Regressed, seed: int, done: int) -> Iterator[Tensor]:
    """A batch of indices of real images, without replacement, for each remaining iteration."""
    for iteration in range(done, config.iterations):
        draws = seeding.generator(seed, config.name, iteration, "batch")
        yield torch.randperm(count, generator=draws)[: config.batch]
