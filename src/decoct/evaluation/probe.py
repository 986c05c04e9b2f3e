"""Linear probes: how accurate a linear classifier on an encoder's features is with few labels."""

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.settings import Bounds, Count, Few, Settings
from decoct.core.shapes import Index
from decoct.data.tasks import Task, labelled_indices
from decoct.evaluation.logistic import Logistic
from decoct.evaluation.penalty import cross_validated_penalty

_PAPER_PENALTY = 1e-3  # factor of |W|^2, which is added to the mean cross-entropy
# The draws that choose the penalty: few labels choose badly, and many take as long as ten fits.
_PENALTY_DRAWS, _PENALTY_LABELS = 3, 1000  # at least
_EXACT, _ENOUGH = 1e-7, 3e-5  # tolerances: the second moves few predictions, and both ways
_NUMBERS = 2**22  # values that are fitted at a time: beyond, a processor's cache does not hold them


LabelShare = Annotated[float, Bounds(above=0, at_most=1)]


@dataclass(frozen=True)
class ProbeConfig(Settings):
    """Which labels a probe sees, and how it is fitted.

    `standard` standardises the features and chooses the penalty by cross-validation, both on the
    labelled examples only; the first draws, three or more, choose the penalty of all. `paper`
    takes raw features and the published penalty.
    """

    section: ClassVar[str] = "probe"

    protocol: Literal["standard", "paper"] = "standard"  # paper: as published
    fractions: tuple[LabelShare, ...] = (0.05, 0.2)  # of each class's training labels
    per_class: tuple[Count, ...] = ()  # or counts per class
    draws: Few = 20  # random choices of the labelled examples, to average over

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fractions and not self.per_class:
            raise DecoctError("probe.fractions and probe.per_class are empty: give one label count")


@dataclass(frozen=True)
class ProbeScore:
    """One probe's accuracy, in per cent, on all test images."""

    task: str
    labels: str  # "5%", or "10 a class"
    draw: int
    accuracy: float
    by_class: dict[str, float] = field(default_factory=dict)  # of each class's test images


def probe(
    *,
    encoder: Encoder,
    task: Task,
    config: ProbeConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[ProbeScore]:
    """Fit probes on the encoder's features at every label fraction and count of `config`.

    The labelled examples depend on the seed and the task alone, so that encoders compare in pairs.
    """
    config = config or ProbeConfig()
    labelled = label_draws(
        task,
        fractions=config.fractions,
        per_class=config.per_class,
        draws=config.draws,
        seed=seed,
    )
    features = (encoder.embed(part, device=device) for part in (task.train, task.test))
    train, test = (part.to(_arithmetic(device)) for part in features)
    scores = []
    with progress(f"probing {task.name}", total=len(labelled)) as advance:
        for label, draws in labelled.items():
            hits = probe_hits(
                train,
                task.numbered(task.train_labels),
                torch.stack(draws),  # stratified, so every draw has as many
                test,
                task.numbered(task.test_labels),
                classes=task.classes,
                protocol=config.protocol,
            )
            found = _scores(task, label, hits)
            advance(f"{sum(score.accuracy for score in found) / len(found):.1f} %")
            scores += found
    return scores


def label_draws(
    task: Task,
    *,
    fractions: tuple[float, ...],
    per_class: tuple[int, ...],
    draws: int,
    seed: int,
) -> dict[str, list[Index]]:
    """The training images whose labels are seen: by the choice of labels in words, for each draw.

    >>> from decoct.data.tasks import load_task
    >>> drawn = label_draws(load_task("emoji"), fractions=(), per_class=(2,), draws=3, seed=0)
    >>> [(labels, len(draws), len(draws[0])) for labels, draws in drawn.items()]
    [('2 a class', 3, 18)]
    """
    choices = [(f"{100 * f:g}%", {"fraction": f}) for f in fractions]
    choices += [(f"{n} a class", {"per_class": n}) for n in per_class]
    return {
        label: [
            labelled_indices(task, seed=seed, draw=draw, **choice)  # type: ignore[arg-type]
            for draw in range(draws)
        ]
        for label, choice in choices
    }


def _scores(task: Task, label: str, hits: Bool[Tensor, "probe image"]) -> list[ProbeScore]:
    """One score for each draw of the labelled examples."""
    classes, own, members = task.test_labels.unique(return_inverse=True, return_counts=True)
    right = torch.zeros(len(hits), len(classes), dtype=torch.float64)
    right.index_add_(1, own, hits.cpu().double())
    by_class = (100 * right / members).round(decimals=2)
    names = [task.class_name(label) for label in classes.tolist()]
    return [
        ProbeScore(task.name, label, draw, accuracy, dict(zip(names, shares.tolist(), strict=True)))
        for draw, (accuracy, shares) in enumerate(zip(_accuracies(hits), by_class, strict=True))
    ]


def _arithmetic(device: torch.device | str) -> torch.device:
    """Where probes are fitted: Apple's GPUs have no float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


def probe_accuracies(
    train: Float[Tensor, "train feature"],
    train_labels: Int64[Tensor, " train"],
    index: Int64[Tensor, "probe example"],
    test: Float[Tensor, "test feature"],
    test_labels: Int64[Tensor, " test"],
    *,
    classes: int,
    protocol: str,
) -> list[float]:
    """Accuracies in per cent of D probes, as `probe_hits` fits them."""
    hits = probe_hits(
        train, train_labels, index, test, test_labels, classes=classes, protocol=protocol
    )
    return _accuracies(hits)


def _accuracies(hits: Bool[Tensor, "probe image"]) -> list[float]:
    return [100 * share for share in hits.double().mean(1).tolist()]


def probe_hits(
    train: Float[Tensor, "train feature"],
    train_labels: Int64[Tensor, " train"],
    index: Int64[Tensor, "probe example"],
    test: Float[Tensor, "test feature"],
    test_labels: Int64[Tensor, " test"],
    *,
    classes: int,
    protocol: str,
) -> Bool[Tensor, "probe test"]:
    """Which test images D probes get right, fitted on the device of the features.

    Each sees the training rows that a line of `index` names (D x n).
    """
    labels, index = train_labels.to(train.device), index.to(train.device)
    standard, penalty = protocol == "standard", _PAPER_PENALTY
    if standard:
        first = index[: max(_PENALTY_DRAWS, math.ceil(_PENALTY_LABELS / index.shape[1]))]
        x, _ = _standardised(train[first].double())
        penalty = cross_validated_penalty(x, labels[first], classes=classes)
    found: list[Tensor] = []
    for rows in index.split(max(1, _NUMBERS // (index.shape[1] * train.shape[1]))):
        x = train[rows].double()
        scale = torch.ones_like(x[:, :1])
        if standard:
            x, scale = _standardised(x)
            x = x.float()  # raw features need double precision
        weights, intercepts = Logistic(x, labels[rows], classes=classes).fit(
            x.new_full((len(x),), penalty), tolerance=_ENOUGH if standard else _EXACT
        )
        predicted = (test.double() @ (weights / scale.mT) + intercepts).argmax(2)
        found.append(predicted == test_labels.to(predicted.device))
    return torch.cat(found)


def _standardised(features: Tensor) -> tuple[Tensor, Tensor]:
    """D x n x F features over their standard deviations, D x 1 x F: 1 for a constant one."""
    scale = features.std(1, correction=0, keepdim=True)
    scale = torch.where(scale < 1e-12, 1.0, scale)
    return features / scale, scale
