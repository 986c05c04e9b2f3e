"""How long a recipe would take: a few seconds of measuring, times how often that is done."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.targets import TargetsConfig, fit_targets
from decoct.core import seeding
from decoct.evaluation.probe import probe_accuracies
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.unroll import matching_gradient
from decoct.methods.mkdt import count_tapes
from decoct.methods.mtt_ssl import flat_loss
from decoct.methods.subsets import BY_TARGETS, SUBSETS, subset_by_targets
from decoct.models.registry import NetworkConfig
from decoct.run.recipe import Recipe
from decoct.run.sizes import Sizes, TaskSize, new_network, noise_images, stand_in_teacher, student
from decoct.training.ssl_pretrain import SSL_METHODS
from decoct.training.teacher import SSLConfig, train_teacher

_SMALL_POOL = 4000  # images that a subset is chosen of, to measure with
_SWEEP = 4  # gradients that a step of a sweep by autograd takes the time of
_SEARCHED_RATES = 3 * 7  # experts times rates that the search for the first rate tries, about


def stage_seconds(recipe: Recipe, sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Seconds by stage: the time of a few steps here, times how many there are."""
    unit = _Units(recipe, sizes, device)
    compare, distill, m, n = recipe.compare, recipe.distill, sizes.kept, sizes.pool
    methods = compare.methods if compare.tasks else (recipe.method,)
    seeds = compare.seeds if compare.tasks else 1
    found: dict[str, float] = {}
    if not recipe.targets.source:
        if recipe.teacher.train:
            ssl = recipe.teacher.ssl
            found["teacher"] = ssl.epochs * n * unit.ssl_step(ssl)
        found["targets"] = n * unit.represent_by_teacher()
    matched = "mkdt" in methods
    if matched or "high-loss" in methods:
        found["experts"] = recipe.experts.count * recipe.experts.epochs * n * unit.expert_step()
    if "high-loss" in methods or (matched and distill.start == "high-loss"):
        found["difficulty"] = recipe.experts.count * n * unit.expert_step() / 3  # forward alone
    if by_targets := [method for method in methods if method in BY_TARGETS]:
        found["subsets"] = seeds * sum(map(unit.subset, by_targets))
    images_in_step = m / math.ceil(m / distill.batch)  # the last batch of a shuffle is smaller
    steps = distill.inner_steps * images_in_step
    search = 0 if distill.rate else _SEARCHED_RATES * steps
    iterations = distill.iterations * distill.experts_per_step
    if "views" in methods and recipe.views.labels == "assistant":
        found["assistant"] = recipe.assistant.epochs * n * unit.assistant_step()
    if matched:
        seconds = iterations * steps * unit.matching_step() + search * unit.expert_step()
        found["distill"] = seeds * seconds
    if "mtt-ssl" in methods:
        gradients = recipe.experts.count * recipe.experts.epochs * n + seeds * search
        sweeps = seeds * iterations * steps + gradients / _SWEEP
        found["mtt-ssl"] = sweeps * unit.ssl_matching_step()
    if "krr-st" in methods:
        found["krr-st"] = seeds * _krr_st(recipe, sizes) * unit.krr_st_step()
    if compare.tasks:
        found["pre-training"] = seeds * _pretraining(recipe, sizes, unit)
        found["probes"] = seeds * len(methods) * sum(unit.probe(t) for t in sizes.tasks if t)
    return found


def _krr_st(recipe: Recipe, sizes: Sizes) -> float:
    """Images that networks see, forward and back, while one set is distilled."""
    config, m = recipe.krr_st, sizes.kept
    seen = 2 * m + min(config.batch, sizes.pool) / 3  # real ones forward alone
    return config.iterations * seen + config.pool * config.pool_steps / 2 * m


def _pretraining(recipe: Recipe, sizes: Sizes, unit: "_Units") -> float:
    """One seed's encoders."""
    methods, m = recipe.compare.methods, sizes.kept
    small = sum(method in (*SUBSETS, "mkdt", "krr-st") for method in methods)
    small += 2 * ("mtt-ssl" in methods)  # of two views
    small += recipe.views.count * ("views" in methods)
    images = recipe.pretrain.epochs * m * small
    for method in ("full", "full-steps"):
        if method in methods:
            images += recipe.steps(method, sizes.pool) * recipe.distill.batch
    seconds = images * unit.pretrain_step()
    config = recipe.ssl.training(recipe.pretrain.network, epochs=1)
    for method in (method for method in SSL_METHODS if method in methods):
        count = m if method == "ssl-random" else sizes.pool
        seen = recipe.steps(method, count) * min(config.batch, count)
        seconds += seen * unit.ssl_step(config)
    return seconds


class _Units:
    """Seconds an image, of each kind of work, measured when first asked for."""

    def __init__(self, recipe: Recipe, sizes: Sizes, device: torch.device) -> None:
        self.recipe, self.sizes, self.device = recipe, sizes, device
        self._known: dict[str, float] = {}

    def expert_step(self) -> float:
        def measure() -> float:
            network = student(self.recipe, self.sizes.dimensions).to(self.device)
            theta = parameters_to_vector(network.parameters()).detach()
            x, y = self._batch(self.recipe.experts.batch)
            gradient = ConvNetGradient(network).gradient
            return self._seconds(lambda: gradient(theta, x, y)) / len(x)

        return self._once("expert", measure)

    def pretrain_step(self) -> float:
        config, batch = self.recipe.pretrain, self.recipe.distill.batch
        return self._once("pretrain", lambda: self._training_step(config.network, batch))

    def assistant_step(self) -> float:
        config = self.recipe.assistant
        return self._once("assistant", lambda: self._training_step(config.network, config.batch))

    def krr_st_step(self) -> float:
        config, m = self.recipe.krr_st, self.sizes.kept
        return self._once("krr-st", lambda: self._training_step(config.network, m))

    def matching_step(self) -> float:
        """An image in one step of the inner loop, forward and back."""

        def measure() -> float:
            network = student(self.recipe, self.sizes.dimensions).to(self.device)
            start = parameters_to_vector(network.parameters()).detach()
            x, y = self._batch(self.recipe.distill.batch)
            batches = [torch.arange(len(x), device=self.device)] * 2
            rate, gradient = torch.tensor(0.1, device=self.device), ConvNetGradient(network)
            config = self.recipe.distill
            kept = count_tapes(gradient, config, self.sizes.kept, x.shape[-1]) / config.inner_steps
            seconds = self._seconds(
                lambda: matching_gradient(
                    InnerGradient.by_hand(gradient),
                    start=start,
                    goal=start + 0.01,
                    images=x,
                    targets=y,
                    lr=rate,
                    batches=batches,
                    kept_tapes=round(kept * len(batches)),
                )
            )
            return seconds / (2 * len(x))

        return self._once("matching", measure)

    def ssl_matching_step(self) -> float:
        """An image in one step of mtt-ssl's inner loop, forward and back."""

        def measure() -> float:
            objective = self.recipe.mtt_ssl.objective
            network = student(self.recipe, objective.projector).to(self.device)
            start = parameters_to_vector(network.parameters()).detach()
            x, y = self._batch(self.recipe.distill.batch)
            loss = flat_loss(network, noise_images(self.recipe, 2), objective)
            sweep = partial(
                matching_gradient,
                InnerGradient.by_autograd(loss),
                start=start,
                goal=start + 0.01,
                images=x,
                targets=y,
                lr=torch.tensor(0.01, device=self.device),
                batches=[torch.arange(len(x), device=self.device)],
            )
            return self._seconds(sweep) / len(x)

        return self._once("ssl matching", measure)

    def ssl_step(self, config: SSLConfig) -> float:
        batch = self._small(config.batch, at_most=16)
        images = noise_images(self.recipe, batch)
        one = replace(config, epochs=1, batch=batch)

        def measure() -> float:
            epoch = partial(train_teacher, images=images, config=one, device=self.device)
            return self._seconds(epoch) / batch

        return self._once(f"ssl {config}", measure)

    def represent_by_teacher(self) -> float:
        def measure() -> float:
            teacher, images = stand_in_teacher(self.recipe), noise_images(self.recipe, 32)
            return self._seconds(lambda: teacher.embed(images, device=self.device)) / 32

        return self._once("teacher", measure)

    def subset(self, method: str) -> float:
        """A whole subset, from one of a smaller pool: its time grows as the pool squared."""
        sizes = self.sizes
        pool = min(sizes.pool, _SMALL_POOL)
        count = max(1, sizes.kept * pool // sizes.pool)

        def measure() -> float:
            draws = seeding.generator(0, "estimate", "targets")
            values = torch.randn(pool, sizes.dimensions, generator=draws)
            choose = partial(
                subset_by_targets,
                method,
                targets=fit_targets(values, TargetsConfig()),
                count=count,
                seed=0,
                sas=self.recipe.sas,
                device=self.device,
            )
            return self._seconds(choose)

        return self._once(method, measure) * (sizes.pool / pool) ** 2

    def probe(self, task: TaskSize) -> float:
        """All of an encoder's probes on one task: features, and fits that grow with the labels."""
        config = self.recipe.probe
        labelled = [fraction * task.train for fraction in config.fractions]
        labelled += [count * task.classes for count in config.per_class]
        features = self.pretrain_step() / 3 * (task.train + task.test)
        return features + config.draws * sum(labelled) * self._fit(task.classes)

    def _fit(self, classes: int) -> float:
        def measure() -> float:
            features = new_network(self.recipe.pretrain.network, self.recipe, 1).feature_count
            labels = torch.arange(20 * classes) % classes
            draws = seeding.generator(0, "estimate", "features")
            x = torch.randn(len(labels), features, generator=draws)
            start = time.monotonic()
            probe_accuracies(
                x[None],
                labels[None],
                x,
                labels,
                classes=classes,
                protocol=self.recipe.probe.protocol,
            )
            return (time.monotonic() - start) / len(labels)

        return self._once(f"fit {classes}", measure)

    def _training_step(self, network: NetworkConfig, batch: int) -> float:
        model = new_network(network, self.recipe, self.sizes.dimensions).to(self.device)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        x, y = self._batch(batch)

        def step() -> None:
            optimiser.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimiser.step()

        return self._seconds(step) / len(x)

    def _batch(self, batch: int) -> tuple[Tensor, Tensor]:
        count = self._small(batch, at_most=64)
        images = noise_images(self.recipe, count).to(self.device).normalised()
        return images, torch.zeros(count, self.sizes.dimensions, device=self.device)

    def _small(self, batch: int, *, at_most: int) -> int:
        """A CPU's time is in proportion to the batch; a GPU's is not, so it gets all of it."""
        return min(batch, at_most) if self.device.type == "cpu" else batch

    def _once(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self._known:
            with seeding.seeded(0, "estimate", name):
                self._known[name] = measure()
        return self._known[name]

    def _seconds(self, action: Callable[[], Any]) -> float:
        """The fastest of a few calls, after one to warm up: others may be using this machine."""
        action()
        self._wait()
        times: list[float] = []
        while sum(times) < 2 and (len(times) < 4 or sum(times) < 0.2):
            start = time.monotonic()
            action()
            self._wait()
            times.append(time.monotonic() - start)
        return min(times)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
