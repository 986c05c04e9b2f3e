"""Fine-tuning: how accurate the whole network is after training on few labels."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.core import checkpoint, seeding, storage
from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.forms import typed, understood
from decoct.core.settings import Count, Few, NonNegative, Positive, Settings
from decoct.core.shapes import Index
from decoct.data.arrays import convert_channels, resize_and_crop
from decoct.data.augment import AugmentConfig, augmenter
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.evaluation.probe import LabelShare, ProbeConfig, ProbeScore, label_draws, probe
from decoct.evaluation.scores import Score, Scores
from decoct.training.loop import Length, Step, train
from decoct.training.pretrain import split_batches, steps_an_epoch

PROBE, TUNED = "linear probe", "fine-tuned"  # their names in `Scores`
_KIND = "finetuned"
# Labels must survive it; self-supervision's own is stronger.
_MILD = AugmentConfig(min_crop=0.5, jitter=0.2, jitter_probability=0.5, grey_probability=0.0)


@dataclass(frozen=True)
class FinetuneConfig(Settings):
    """Which labels are seen, and how the network is trained on them."""

    section: ClassVar[str] = "finetune"

    labels: tuple[LabelShare, ...] = (0.05,)  # of each class's training labels
    per_class: tuple[Count, ...] = ()  # or counts per class
    draws: Few = 5  # random choices of the labelled examples, to average over
    epochs: Count = 50
    lr: Positive = 1e-3  # of AdamW; falls along a cosine
    weight_decay: NonNegative = 1e-4
    batch: Count = 64
    augment: AugmentConfig = field(default_factory=lambda: _MILD)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels and not self.per_class:
            raise DecoctError("--labels and --per-class are empty; give one of them a number")

    @property
    def rule(self) -> TrainingRule:
        """The optimiser and its schedule."""
        return TrainingRule(
            optimiser="adamw",
            lr=self.lr,
            weight_decay=self.weight_decay,
            batch=self.batch,
            schedule="cosine",
        )


def finetune(
    *,
    encoder: Encoder,
    task: Task,
    config: FinetuneConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    folder: Path | str | None = None,
) -> list[ProbeScore]:
    """Train a copy of the encoder, with a linear head, on each draw of labels; score it.

    The labelled examples are those that `probe` draws, so the two compare in pairs. In `folder`
    each accuracy is kept, and the state of training; what is there is not made again. Raises
    `DecoctError` if a class has too few images, or if the loss is not finite.

    >>> from decoct.artefacts.embedded_teacher import embedded_teacher
    >>> from decoct.data.tasks import load_task
    >>> few = FinetuneConfig(labels=(), per_class=(1,), draws=1, epochs=1)
    >>> (score,) = finetune(encoder=embedded_teacher(), task=load_task("emoji"), config=few)
    >>> score.labels, 0 <= score.accuracy <= 100
    ('1 a class', True)
    """
    config, device = config or FinetuneConfig(), torch.device(device)
    drawn = label_draws(
        task, fractions=config.labels, per_class=config.per_class, draws=config.draws, seed=seed
    )
    tuning = _Tuning(encoder, task, config, seed, device)
    key = tuning.key if folder else ""
    scores = []
    total = sum(map(len, drawn.values()))
    with progress(f"fine-tuning on {task.name}, draws of labels", total=total) as advance:
        for labels, draws in drawn.items():
            for draw, rows in enumerate(draws):
                name = f"{labels.replace(' ', '-')}-seed{seed}-draw{draw}-{key}"
                place = Path(folder) / name if folder else None
                accuracy = _kept(place, partial(tuning.of, rows, draw))
                scores.append(ProbeScore(task.name, labels, draw, accuracy))
                advance(f"{accuracy:.1f} %")
    return scores


def finetune_scores(
    *,
    encoder: Encoder,
    task: Task,
    config: FinetuneConfig,
    seeds: int,
    device: torch.device,
    folder: Path | None = None,
) -> Scores:
    """Fine-tuning and the linear probe on the same draws of labels, for seeds 0, 1, ..."""
    if seeds < 1:
        raise DecoctError(f"{seeds} seeds are none; give --seeds 1 or more")
    same = ProbeConfig(fractions=config.labels, per_class=config.per_class, draws=config.draws)
    scores: list[Score] = []
    for seed in range(seeds):
        probed = probe(encoder=encoder, task=task, config=same, seed=seed, device=device)
        tuned = finetune(
            encoder=encoder, task=task, config=config, seed=seed, device=device, folder=folder
        )
        for method, found in ((PROBE, probed), (TUNED, tuned)):
            scores += [Score(method, seed, s.task, s.labels, s.draw, s.accuracy) for s in found]
    return Scores(tuple(scores))


def _kept(place: Path | None, make: Callable[[Path | None], float]) -> float:
    """An accuracy, from its file if it is there; its training keeps a checkpoint beside it."""
    if place is None:
        return make(None)
    file, state = (place.with_name(f"{place.name}.{end}") for end in ("json", "safetensors"))
    if not storage.is_valid(file, kind=_KIND):
        storage.save_json(file, {"accuracy": make(state)}, kind=_KIND)
        checkpoint.remove(state)
    return read_finetuned(file)


def read_finetuned(file: Path) -> float:
    """The accuracy on one draw of labels, in per cent, from its file."""
    with understood(file):
        return float(typed(storage.load_json(file, kind=_KIND)["accuracy"], float))


@dataclass(frozen=True)
class _Tuning:
    """What every draw has in common."""

    encoder: Encoder
    task: Task
    config: FinetuneConfig
    seed: int
    device: torch.device

    @property
    def key(self) -> str:
        """Changes if anything does that all draws have in common, except the seed."""
        weights = self.encoder.network.body.state_dict().values()
        config, task = self.config, self.task
        parts = (config.rule, config.epochs, config.augment, task.train.digest, task.test.digest)
        return storage.digest(*parts, self.encoder.mean, self.encoder.std, *weights)

    def of(self, rows: Index, draw: int, state: Path | None) -> float:
        """The accuracy, in per cent, on all test images after training on the labels of `rows`."""
        network = copy.deepcopy(self.encoder.network).to(self.device)
        with seeding.seeded(self.seed, "finetune", draw, "head"):
            network.head = nn.Linear(network.feature_count, self.task.classes).to(self.device)
        shown = self._fitted(self.task.train.subset(rows)).to(self.device)
        labels = self.task.numbered(self.task.train_labels[rows]).to(self.device)
        augment = augmenter(self.config.augment, shown)
        steps = steps_an_epoch(len(rows), self.config.batch)

        def loss(model: nn.Module, chosen: Tensor) -> Tensor:
            return F.cross_entropy(model(augment(shown.pixels[chosen])), labels[chosen])

        def losses(model: nn.Module, epoch: int) -> Iterator[Step]:
            with seeding.seeded(self.seed, "finetune", draw, epoch):
                for chosen in split_batches(torch.randperm(len(rows)), self.config.batch):
                    yield partial(loss, model, chosen.to(self.device)), len(chosen)

        train(
            network,
            losses,
            rule=self.config.rule,
            length=Length(self.config.epochs * steps, steps),
            label=f"fine-tuning, draw {draw}",
            on_divergence=f"fine-tuning on {self.task.name} diverged in epoch {{epoch}}; "
            "give a lower --lr",
            state=state,
        )
        tuned = replace(self.encoder, network=network)
        with torch.no_grad():
            predicted = network.head(
                tuned.embed(self.task.test, device=self.device).to(self.device)
            )
        right = predicted.argmax(1).cpu() == self.task.numbered(self.task.test_labels)
        return 100 * float(right.double().mean())

    def _fitted(self, images: Images) -> Images:
        """The images as the encoder takes them, and with its statistics."""
        encoder = self.encoder
        pixels = convert_channels(images.pixels[:], encoder.channels)
        fitted = replace(images, pixels=resize_and_crop(pixels, encoder.size))
        return fitted.with_statistics(encoder.mean, encoder.std)
