"""Linear probes: how accurate a linear classifier on an encoder's features is with few labels."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.core import seeding
from decoct.core.console import progress
from decoct.core.errors import DecoctError
from decoct.core.settings import Bounds, Count, Settings
from decoct.data.tasks import Task, labelled_indices
from decoct.evaluation.logistic import Logistic

_PAPER_PENALTY = 1e-3  # factor of |W|^2, which is added to the mean cross-entropy
_PENALTIES = tuple(10.0**e for e in (1, 0, -1, -2, -3, -4))  # cross-validation's grid
_FOLDS = 5
_NUMBERS = 2**26  # values that cross-validation holds at a time: half a GB in float64


LabelShare = Annotated[float, Bounds(above=0, at_most=1)]


@dataclass(frozen=True)
class ProbeConfig(Settings):
    """Which labels a probe sees, and how it is fitted.

    `standard` standardises the features and chooses the penalty by cross-validation, both on the
    labelled examples only; `paper` takes raw features and the published penalty.
    """

    section: ClassVar[str] = "probe"

    protocol: Literal["standard", "paper"] = "standard"
    fractions: tuple[LabelShare, ...] = (0.05, 0.2)  # of each class's training labels
    per_class: tuple[Count, ...] = ()  # or counts per class
    draws: Count = 1  # random choices of the labelled examples, to average over

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
    choices = [(f"{100 * f:g}%", {"fraction": f}) for f in config.fractions]
    choices += [(f"{n} a class", {"per_class": n}) for n in config.per_class]
    labelled = {
        label: [
            labelled_indices(task, seed=seed, draw=draw, **choice)  # type: ignore[arg-type]
            for draw in range(config.draws)
        ]
        for label, choice in choices
    }
    features = (encoder.embed(part, device=device) for part in (task.train, task.test))
    train, test = (part.to(_arithmetic(device)) for part in features)
    scores = []
    with progress(f"probing {task.name}", total=len(labelled)) as advance:
        for label, draws in labelled.items():
            index = torch.stack(draws)  # stratified, so every draw has as many
            found = probe_accuracies(
                train[index.to(train.device)],
                task.train_labels[index],
                test,
                task.test_labels,
                classes=task.classes,
                protocol=config.protocol,
            )
            scores += [ProbeScore(task.name, label, draw, a) for draw, a in enumerate(found)]
            advance(f"{found[0]:.1f} %")
    return scores


def _arithmetic(device: torch.device | str) -> torch.device:
    """Where probes are fitted: Apple's GPUs have no float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


def probe_accuracies(
    train: Float[Tensor, "probe example feature"],
    labels: Int64[Tensor, "probe example"],
    test: Float[Tensor, "test feature"],
    test_labels: Int64[Tensor, " test"],
    *,
    classes: int,
    protocol: str,
) -> list[float]:
    """Accuracies in per cent of D probes, fitted in one batch on the device of the features.

    `train` is D x n x F and `labels` D x n (int64): what each probe sees; `test` is M x F.
    """
    x, labels = train.double(), labels.to(train.device)
    scale = torch.ones_like(x[:, :1])
    if protocol == "standard":
        scale = x.std(1, correction=0, keepdim=True)
        scale[scale < 1e-12] = 1.0
    probes = Logistic(x / scale, labels, classes=classes)
    penalties = torch.full_like(x[:, 0, 0], _PAPER_PENALTY)
    if protocol == "standard":
        penalties = cross_validated_penalties(probes.rotated, labels, classes=classes)
    weights, intercepts = probes.fit(penalties)
    predicted = (test.double() @ (weights / scale.mT) + intercepts).argmax(2)
    right = (predicted == test_labels.to(predicted.device)).double().mean(1)
    return [100 * share for share in right.tolist()]


def cross_validated_penalties(
    features: Float[Tensor, "probe example feature"],
    labels: Int64[Tensor, "probe example"],
    *,
    classes: int,
) -> Float[Tensor, " probe"]:
    """The penalty with the lowest cross-validated cross-entropy over stratified folds.

    D x n x F features and D x n labels give D penalties. With one example per class nothing can be
    held out, so it takes the middle of the grid. Single precision is enough for choosing.
    """
    grid, features = features.double().new_tensor(_PENALTIES), features.float()
    folds = torch.stack([stratified_folds(row) for row in labels.cpu()]).to(labels.device)
    count = int(folds.max()) + 1
    if count < 2:
        return grid[len(grid) // 2].expand(len(labels))
    every = torch.cartesian_prod(torch.arange(len(labels)), torch.arange(count)).to(labels.device)
    losses = []
    for part in every.split(max(1, _NUMBERS // features[0].numel())):
        draw, k = part.T
        held = folds[draw] == k.unsqueeze(1)
        losses.append(_held_out(features, labels, draw, held, classes))
    summed = torch.cat(losses).view(len(labels), count, len(grid)).sum(1)
    return grid[summed.argmin(1)]


def _held_out(features: Tensor, labels: Tensor, draw: Tensor, held: Tensor, classes: int) -> Tensor:
    """P x penalties: the summed cross-entropy of each fit on its held-out rows.

    `draw` (P) says whose features a fit takes, `held` (P x n) which of their rows are held out.
    Once a weaker penalty is worse for every fit, still weaker ones, which are the slowest to fit,
    are skipped and count as infinite.
    """
    order = held.int().argsort(dim=1, stable=True)  # the held-out ones last
    draw, most = draw.unsqueeze(1), int(held.sum(1).max())
    seen, rest = order[:, : int((~held).sum(1).max())], order[:, -most:]
    known = labels[draw, seen].masked_fill(held.gather(1, seen), -1)
    fits = Logistic(features[draw, seen], known, classes=classes)
    x, y = features[draw, rest], labels[draw, rest].unsqueeze(2)
    losses = x.new_full((len(x), len(_PENALTIES)), torch.inf)
    for i, penalty in enumerate(_PENALTIES):
        weights, intercepts = fits.fit(x.new_full((len(x),), penalty), tolerance=1e-4)
        log_p = (x @ weights + intercepts).log_softmax(2).gather(2, y).squeeze(2)
        losses[:, i] = -(log_p * held.gather(1, rest)).sum(1)
        if i and bool((losses[:, i] > losses[:, i - 1]).all()):
            break
    return losses


def stratified_folds(labels: Tensor) -> Tensor:
    """A fold for each example, each class spread evenly over at most five folds.

    The only example of a class gets no fold (-1): held out, its class would be unseen in training.
    """
    fold = torch.full_like(labels, -1)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) > 1:
            order = torch.randperm(len(members), generator=seeding.generator(0, "folds", label))
            fold[members[order]] = torch.arange(len(members)) % _FOLDS
    return fold
