"""The section on `decoct diagnose variance`: verdicts, and plots by batch, epoch and iteration."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from decoct.report.plots import Point, curves, lines
from decoct.report.variance_table import label, verdicts
from decoct.studies.variance.findings import Findings, Variance

_NOISE = "tr Cov(g) / |E g|²"


@dataclass(frozen=True)
class VarianceSection:
    """What the page shows in it."""

    verdicts: list[tuple[str, str]]
    notes: tuple[str, ...]
    plots: list[tuple[str, str, Markup]]  # title, explanation, SVG


def variance_section(variance: Variance) -> VarianceSection:
    """The section's text and plots."""
    return VarianceSection(verdicts(variance), variance.notes, list(_plots(variance)))


def _plots(variance: Variance) -> Iterator[tuple[str, str, Markup]]:
    epoch, batch = variance.epochs[0], variance.reference
    title = "Noise by batch size"
    yield (
        title,
        f"Noise-to-signal of the gradient after {epoch} epochs of training; whiskers are 95 % "
        "intervals. Missing values mean that all is noise.",
        lines(
            {label(f.name): _by_batch(f, epoch) for f in variance.findings},
            title=title,
            x="batch size",
            y=_NOISE,
            by_doubling=True,
        ),
    )
    title = "Noise by epoch of training"
    yield (
        title,
        f"The same for batches of {batch}; each objective trains its own network.",
        lines(
            {label(f.name): _by_epoch(f, batch) for f in variance.findings},
            title=title,
            x="epochs",
            y=_NOISE,
        ),
    )
    title = "Spread of trajectories"
    yield (
        title,
        "Of runs with the same start but other batches and views: their variance divided by the "
        "squared length of the mean displacement.",
        lines(
            {label(f.name): _spread(f) for f in variance.findings},
            title=title,
            x="epochs",
            y="spread",
        ),
    )
    title = "The matching loss of each objective"
    yield (
        title,
        "How far from an expert of that objective a student ends; 1 means that it is no nearer "
        "than at the start.",
        curves(
            {label(f.name): f.matching.loss for f in variance.findings},
            title=title,
            x="iteration",
            y="loss",
            smooth=True,
        ),
    )


def _by_batch(found: Findings, epoch: int) -> list[Point]:
    return [
        Point(n.batch, n.noise.ratio, *n.noise.interval())
        for n in found.noise
        if n.source == "batches" and n.epoch == epoch
    ]


def _by_epoch(found: Findings, batch: int) -> list[Point]:
    return [
        Point(n.epoch, n.noise.ratio, *n.noise.interval())
        for n in found.noise
        if n.source == "batches" and n.batch == batch
    ]


def _spread(found: Findings) -> list[Point]:
    return [
        Point(s.epoch, s.ratio, s.ratio - s.half_width, s.ratio + s.half_width)
        for s in found.spread
    ]
