"""Why not match trajectories of the SSL loss itself? A test of the paper's answer.

The paper says that gradients of SSL losses vary too much, and those of distillation less (MKDT,
section 4). So this measures, for each objective on the same images, the noise of its gradient, the
spread of its trajectories, and the course of the matching loss.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from decoct.artefacts.trajectories import Trajectories, read_expert
from decoct.core import seeding, storage
from decoct.core.console import note, progress
from decoct.core.device import arithmetic
from decoct.core.errors import DecoctError
from decoct.core.place import Place
from decoct.core.seeding import random_subset
from decoct.core.settings import (
    Batch,
    Bounds,
    Count,
    CountOrNone,
    NonNegative,
    Settings,
    Some,
)
from decoct.matching.loop import MatchingConfig
from decoct.models.network import Network
from decoct.models.registry import create_network
from decoct.run.pipeline import Run
from decoct.studies.variance.findings import Findings, NoiseAt, Source, Variance, nearest
from decoct.studies.variance.gradient_variance import measure_noise
from decoct.studies.variance.matching import match_objective
from decoct.studies.variance.objectives import NAMES, Name, Problem, choose_pictures, make_problem
from decoct.studies.variance.spread import spread_by_epoch
from decoct.training.expert import Gradient
from decoct.training.experts import train_experts_by


@dataclass(frozen=True)
class Rates(Settings):
    """The learning rate of each objective's training; 0: the recipe's `experts.lr`.

    For the SSL losses, rates a factor of three apart were tried on 512 of the demo's images
    (ConvNet of width 32, batch 64, momentum 0.9, 24 steps); these have the lowest loss, or one
    within a hundredth of it. Only the spectral contrastive loss, a quartic, has a third of its best
    rate, because it diverges at 0.001.
    """

    section: ClassVar[str] = "diagnose.lr"

    supervised: NonNegative = 0.0  # on labels
    distillation: NonNegative = 0.0  # on the teacher's targets
    spectral_contrastive: NonNegative = 1e-4  # HaoChen et al. 2021
    barlow_twins: NonNegative = 0.03  # Zbontar et al. 2021
    simclr: NonNegative = 0.1  # Chen et al. 2020
    vicreg: NonNegative = 0.01  # Bardes et al. 2022


@dataclass(frozen=True)
class VarianceConfig(Settings):
    """What is measured, and how often."""

    section: ClassVar[str] = "diagnose"

    objectives: Some[Name] = NAMES  # the losses that are compared
    # sizes; those over half the images are skipped
    batches: Some[Batch] = (32, 128, 512)
    # numbers of epochs after which a gradient's noise is measured
    points: Some[CountOrNone] = (0, 1, 2)
    # gradients per measurement of the noise
    repeats: Annotated[int, Bounds(at_least=3, at_most=1000)] = 8
    # with the same start, for the spread
    runs: Annotated[int, Bounds(at_least=2, at_most=1000)] = 3
    epochs: Count = 2  # of these runs and of the experts
    # for matching, each with its own start; 0: use the runs with the same start
    experts: Annotated[int, Bounds(at_least=0, at_most=100_000)] = 0
    iterations: Count = 20  # of matching
    inner_steps: CountOrNone = 5  # of matching; 0: the recipe's
    learn_targets: bool = False  # also in matching distillation, as MKDT does
    lr: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.points) > self.epochs:
            raise DecoctError(f"points are epochs of training, from 0 to epochs ({self.epochs})")


def diagnose_variance(run: Run, config: VarianceConfig | None = None) -> Variance:
    """Measure each objective in its own stage; also writes `variance.json` to the run's folder.

    Images, targets, network, batch and matching settings are the recipe's. Raises `DecoctError` if
    an objective's training diverges, or if there are too few images.
    """
    config = config or VarianceConfig()
    task = run.tasks[0] if run.tasks else None
    pictures = choose_pictures(images=run.images, targets=run.targets, task=task)
    names = [n for n in config.objectives if n != "supervised" or pictures.labelled is not None]
    problems = [
        make_problem(name, pictures, objective=run.recipe.mtt_ssl.objective) for name in names
    ]
    notes = [*pictures.notes, *_left_out(problems, config)]
    for text in notes:
        note(text)
    findings = []
    for i, problem in enumerate(problems):
        note(f"{problem.name} ({i + 1} of {len(problems)})")
        findings.append(_Diagnosis(run, config, problem).findings())
    matching, experts = run.recipe.matching, run.recipe.experts
    result = Variance(
        tuple(findings), tuple(notes), experts.batch, matching.optimiser, config.learn_targets
    )
    result.save(run.folder / "variance.json")
    return result


def _left_out(problems: list[Problem], config: VarianceConfig) -> Iterator[str]:
    """Notes on the batch sizes that are too large for the number of images."""
    for count in sorted({len(problem.images) for problem in problems}):
        large = [str(b) for b in config.batches if not _fits(b, count)]
        if len(large) == len(config.batches):
            raise DecoctError(f"all batches are over half of the {count} images; give smaller ones")
        if large:
            yield f"batches of {', '.join(large)} are skipped: over half of the {count} images"


def _fits(batch: int, count: int) -> bool:
    """Larger batches, drawn without replacement, are nearly all the images and hardly vary."""
    return 2 * batch <= count


class _Diagnosis:
    """One objective's measurements, in a stage folder of its own."""

    def __init__(self, run: Run, config: VarianceConfig, problem: Problem) -> None:
        self.run, self.config, self.problem = run, config, problem.to(run.device)
        recipe = run.recipe
        self.lr: float = getattr(config.lr, problem.name) or recipe.experts.lr
        self.experts = replace(
            recipe.experts, count=config.runs, epochs=config.epochs, lr=self.lr, dtype="float32"
        )
        self.matching = _matching_config(recipe.matching, config)
        self.count = min(recipe.set_size(len(run.images)), len(problem.images))

    def findings(self) -> Findings:
        """Read from the stage's file, or measure now."""
        path = self.run.stages.artefact(
            f"variance-{self.problem.name}",
            self._key(),
            file="findings.json",
            kind="findings",
            make=lambda path: self._measure(path).save(path),
        )
        return Findings.load(path)

    def _key(self) -> str:
        problem, recipe = self.problem, self.run.recipe
        own = asdict(self.config)
        del own["objectives"], own["lr"]
        objective = recipe.mtt_ssl.objective if problem.augmented else None
        return storage.digest(
            problem.name,
            problem.images.digest,
            problem.values,
            own,
            self.experts,
            self.matching,
            objective,
            self.count,
            recipe.seed,
        )

    def _measure(self, path: Path) -> Findings:
        problem = self.problem
        alike = experts = self._train(path.with_name("runs"), self.config.runs, one_start=True)
        noise = tuple(self._noise(alike))
        if self.config.experts:
            experts = self._train(path.with_name("experts"), self.config.experts)
        index = random_subset(
            total=len(problem.images), count=self.count, seed=self.run.recipe.seed
        )
        matching = match_objective(
            problem,
            experts,
            index=index,
            config=self.matching,
            lr=self.lr,
            objective=self.run.recipe.mtt_ssl.objective,
            seed=self.run.recipe.seed,
            device=self.run.device,
            state=Place(folder=path.parent).state,
        )
        losses = read_expert(alike.files[0])[0]["losses"].tolist()
        return Findings(
            problem.name,
            len(problem.images),
            self.lr,
            tuple(losses),
            noise,
            tuple(spread_by_epoch(alike)),
            matching,
        )

    def _train(self, folder: Path, count: int, *, one_start: bool = False) -> Trajectories:
        problem = self.problem

        def make(
            network: Network, images: object, config: object, dtype: torch.dtype | None
        ) -> Gradient:
            return problem.inner(network, dtype).gradient

        try:
            return train_experts_by(
                make,
                images=problem.images,
                values=problem.values,
                outputs=problem.outputs,
                folder=folder,
                config=replace(self.experts, count=count),
                seed=self.run.recipe.seed,
                device=self.run.device,
                one_start=one_start,
            )
        except DecoctError as error:
            what = f"{problem.name}, with diagnose.lr.{problem.name} {self.lr}"
            raise DecoctError(f"{what}: {error}") from error

    def _noise(self, runs: Trajectories) -> Iterator[NoiseAt]:
        """At all points and batch sizes, for the first run; views alone at the usual size."""
        problem, config, seed = self.problem, self.config, self.run.recipe.seed
        network = self._network().to(self.run.device)
        sizes = [b for b in config.batches if _fits(b, len(problem.images))]
        usual = nearest(sizes, self.experts.batch)
        plan: list[tuple[Source, int, int, int]] = [
            ("batches", epoch, batch, config.repeats) for epoch in config.points for batch in sizes
        ]
        repeats = config.repeats if problem.augmented else 2  # without draws, all are equal
        plan += [("augmentations", epoch, usual, repeats) for epoch in config.points]
        with (
            arithmetic(self.experts.precision) as dtype,
            progress(f"{problem.name}, gradients", total=sum(p[3] for p in plan)) as advance,
        ):
            gradient = problem.inner(network, dtype).gradient
            for source, epoch, batch, repeats in plan:
                theta: Tensor = runs.expert(0)[epoch].to(self.run.device)
                noise = measure_noise(
                    problem,
                    gradient,
                    theta,
                    batch=batch,
                    repeats=repeats,
                    seed=seed,
                    fixed=source == "augmentations",
                    epoch=epoch,
                    advance=advance,
                )
                yield NoiseAt(source, epoch, batch, noise)

    def _network(self) -> Network:
        """A network whose parameters do not matter, since its function gets them as an argument."""
        images = self.problem.images
        with seeding.seeded(0, "variance", "network"):
            return create_network(
                self.experts.network,
                channels=images.channels,
                size=images.size,
                outputs=self.problem.outputs,
            )


def _matching_config(matching: MatchingConfig, config: VarianceConfig) -> MatchingConfig:
    """The recipe's matching settings, with fewer iterations, for experts with fewer epochs."""
    starts = config.epochs - matching.expert_epochs + 1
    if starts < 1:
        raise DecoctError(
            f"matching.expert_epochs is {matching.expert_epochs}, but diagnose.epochs is "
            f"{config.epochs}: the experts would be too short"
        )
    return replace(
        matching,
        iterations=config.iterations,
        max_start_epoch=min(matching.max_start_epoch, starts),
        inner_steps=config.inner_steps or matching.inner_steps,
        lr_targets=matching.lr_targets if config.learn_targets else 0.0,
    )
