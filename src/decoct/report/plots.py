"""The plots of the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from decoct.core.printable import printable
from decoct.evaluation.interval import Interval, is_sure
from decoct.report.svg import ACCENT, COLOURS, INK, MUTED, PAPER, SERIES, STYLE, new_figure, svg_of

_NAMED = 2 * SERIES  # a legend of more series would leave their plot no room


@dataclass(frozen=True)
class Whisker:
    """One method's line in a plot of intervals."""

    name: str
    interval: Interval
    points: Sequence[float] = ()  # one per seed
    emphasis: bool = False


@dataclass(frozen=True)
class Point:
    """One point of a series, and the ends of its interval; the upper may be infinite."""

    x: float
    y: float
    low: float
    high: float


def curves(
    series: Mapping[str, Sequence[float]], *, title: str, x: str, y: str, smooth: bool = False
) -> Markup:
    """Series over their index, overlaid; with `smooth`, a running mean is drawn over them."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2.75)
        for i, (name, values) in enumerate(series.items()):
            colour = COLOURS[f"--series-{i % SERIES}"]
            steps = np.arange(1, len(values) + 1)
            window = len(values) // 25 if smooth else 0
            if window > 1:
                axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(
                steps,
                running_mean(values, window),
                color=colour,
                linewidth=1.8,
                label=name,
                marker="o" if len(values) < 10 else None,
                markersize=3.5,
                linestyle=_line(i),
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.margins(x=0.02)
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if 1 < len(series) <= _NAMED:
            axes.legend(fontsize=9)
        return svg_of(figure, title)


def lines(
    series: Mapping[str, Sequence[Point]], *, title: str, x: str, y: str, by_doubling: bool = False
) -> Markup:
    """Series on a logarithmic y axis, with whiskers; skips non-finite and non-positive values.

    With `by_doubling` the x axis is logarithmic too. Series are shifted a little so that whiskers
    do not cover each other.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(3.1)
        every = sorted({p.x for points in series.values() for p in points})
        step = min((b - a for a, b in pairwise(every)), default=1.0)
        for i, (name, points) in enumerate(series.items()):
            shift = 0.05 * (i - (len(series) - 1) / 2)
            shown = [p for p in points if 0 < p.y < math.inf]
            at = [p.x * 2**shift if by_doubling else p.x + step * shift for p in shown]
            colour = COLOURS[f"--series-{i % SERIES}"]
            axes.plot(
                at,
                [p.y for p in shown],
                "o",
                color=colour,
                linestyle=_line(i),
                linewidth=1.6,
                markersize=3.5,
                label=name,
            )
            ends = [(max(p.low, 0.0), p.high if p.high < math.inf else 100 * p.y) for p in shown]
            axes.vlines(at, *zip(*ends, strict=True), color=colour, linewidth=0.9, alpha=0.6)
        if by_doubling:
            axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the default writes TeX
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(*_limits([p for points in series.values() for p in points]))
        axes.set_xticks(every, [f"{value:g}" for value in every], minor=False)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(visible=False, axis="x")
        figure.legend(fontsize=8, ncols=3, loc="outside upper left")
        return svg_of(figure, title)


def rising(
    series: Mapping[str, Sequence[Point]],
    *,
    levels: Mapping[str, float],
    title: str,
    x: str,
    y: str,
) -> Markup:
    """Series over a logarithmic x axis with their intervals, named at their ends.

    `levels` are values without an x: broken lines across the plot.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(3.4)
        every = sorted({p.x for points in series.values() for p in points})
        for i, points in enumerate(series.values()):
            colour, at = COLOURS[f"--series-{i % SERIES}"], [p.x for p in points]
            axes.plot(at, [p.y for p in points], "o", color=colour, linestyle=_line(i), ms=3.5)
            low, high = [p.low for p in points], [p.high for p in points]
            axes.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
        for value in levels.values():
            axes.axhline(value, color=MUTED, linewidth=0.9, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [f"{value:g}" for value in every], minor=False)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(visible=False, axis="x")
        ends = {name: (points[-1].x, points[-1].y) for name, points in series.items()}
        ends |= {name: (every[-1], value) for name, value in levels.items()}
        colours = [COLOURS[f"--series-{i % SERIES}"] for i in range(len(series))]
        _name(axes, ends, [*colours, *[MUTED] * len(levels)])
        return svg_of(figure, title)


def _name(axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Sequence[str]) -> None:
    """Write each name to the right of the plot, at its height or as near as others leave room."""
    low, high = axes.get_ylim()
    room = (high - low) / 18
    coloured = zip(ends.items(), colours, strict=True)
    below = high + room
    for (name, (_, value)), colour in sorted(coloured, key=lambda part: -part[0][1][1]):
        below = min(value, below - room)
        axes.annotate(
            name,
            (1.02, below),
            xycoords=("axes fraction", "data"),
            color=colour,
            fontsize=8.5,
            va="center",
            annotation_clip=False,
        )


def _limits(points: Sequence[Point]) -> tuple[float, float]:
    """The limits of a logarithmic axis: all points are within, whiskers may extend beyond."""
    values = [p.y for p in points if 0 < p.y < math.inf] or [1.0]
    return min(values) / 2, max(values) * 4


def _line(i: int) -> str:
    """Solid, or broken if the colours repeat."""
    return "-" if i < SERIES else "--"


def intervals(whiskers: Sequence[Whisker], *, title: str, x: str, zero: bool = False) -> Markup:
    """A dot and a whisker (95 % interval) for each method, and its single values, faint.

    With `zero` a line marks zero, and a dot is hollow if its interval includes zero or comes from
    one seed.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(0.7 + 0.34 * len(whiskers))
        for row, whisker in enumerate(whiskers):
            _draw(axes, row, whisker, hollow=zero and not is_sure(whisker.interval))
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(whiskers)), [printable(w.name) for w in whiskers])
        for label, whisker in zip(axes.get_yticklabels(), whiskers, strict=True):
            label.set_color(ACCENT if whisker.emphasis else INK)
        axes.set_ylim(len(whiskers) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.set_xlabel(x)
        return svg_of(figure, title)


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The centred mean over about `window` values, over fewer at the ends.

    >>> running_mean([1.0, 2.0, 6.0], 3)
    [1.5, 3.0, 4.0]
    """
    half = max(0, window // 2)
    return [float(np.mean(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


def _draw(axes: Axes, row: int, whisker: Whisker, *, hollow: bool) -> None:
    colour = ACCENT if whisker.emphasis else INK
    below = [row + 0.26] * len(whisker.points)
    axes.plot(whisker.points, below, ".", color=colour, alpha=0.4, markersize=5, markeredgewidth=0)
    mean, half_width = whisker.interval.mean, whisker.interval.half_width
    if not math.isnan(half_width):
        ends = [mean - half_width, mean + half_width]
        axes.plot(ends, [row, row], color=colour, linewidth=1.8, solid_capstyle="round")
    face = PAPER if hollow else colour
    axes.plot(mean, row, "o", color=colour, markerfacecolor=face, markersize=7, markeredgewidth=1.5)
