"""Write the report: one self-contained HTML page."""

import base64
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, versions
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.report.ablation_table import ablation_legend
from decoct.report.ablations import axis_sections
from decoct.report.contents import Contents, read_contents
from decoct.report.costs import cost_rows, costs
from decoct.report.frontier import panels
from decoct.report.image_grid import image_grid, png_bytes
from decoct.report.plots import curves
from decoct.report.table import legend
from decoct.report.variance import variance_section
from decoct.report.verdicts import Comparison, comparisons, headline

_PAIRS, _FIRST = 400, 48  # maximum number of pairs on the page, and those shown without unfolding
_ROWS, _VIEWS = 8, 8  # number of images whose views are shown, and of views for each
_SIDES = (56, 96)  # pixels: small images are enlarged, by a whole number, to a size in this range


def write_report(folder: Path | str, *, out: Path | None = None) -> Path:
    """Write the page about a run's folder, by default to `report.html` in it; returns its path.

    The page names what the run has not made. Raises `DecoctError` if the folder is not a run's.
    """
    folder = Path(folder)
    html = render(read_contents(folder))
    target = out or folder / "report.html"
    try:
        storage.write_text(target, html)
    except OSError as error:
        raise DecoctError(f"{target} cannot be written: {error.strerror}") from error
    return target


def render(contents: Contents) -> str:
    """The page as HTML; all text from data is escaped.

    >>> "<b>" in render(Contents(name="<b>"))
    False
    """
    environment = Environment(
        loader=PackageLoader("decoct", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scores = contents.scores if contents.scores and contents.scores.scores else None
    first = next(iter(contents.sets.values()), None)
    compared: list[Comparison] = comparisons(scores, contents.hero) if scores else []
    return environment.get_template("page.html").render(
        contents=contents,
        lede=_lede(contents, first),
        glance=_glance(contents, first, compared),
        pairs=pairs(first) if first else None,
        views=view_rows(contents.views) if contents.views else [],
        side=_side(contents.views.size) if contents.views else 0,
        learning=list(_learning(contents)),
        compared=compared,
        costs=cost_rows(costs(scores, contents.seconds, contents.inputs)) if scores else [],
        methods=_methods(scores) if scores else [],
        legend=legend(scores) if scores else "",
        variance=variance_section(contents.variance) if contents.variance else None,
        axes=axis_sections(contents.ablation) if contents.ablation else [],
        frontier=list(panels(contents.frontier)) if contents.frontier else [],
        axes_legend=ablation_legend(contents.ablation) if contents.ablation else "",
        stages=stage_times(contents.seconds, contents.sorts),
        total=duration(sum(contents.seconds.values())),
        versions=_versions(contents),
    )


def _methods(scores: Scores) -> list[tuple[str, str, str]]:
    """The name, summary and citation of each method that is compared."""
    names = dict.fromkeys(score.method for score in scores.scores)
    return [(m, METHODS[m].summary, METHODS[m].paper) for m in names if m in METHODS]


@dataclass(frozen=True)
class Pairs:
    """Real images and the synthetic ones made from them, as PNG data URIs."""

    seed: int
    total: int
    side: int  # pixels on the page
    first: list[tuple[str, str]]  # real (or empty), synthetic
    rest: list[tuple[str, str]]


def pairs(distilled: DistilledSet) -> Pairs:
    """The initial and synthetic images in pairs; without initial images, only the synthetic."""
    start, size = distilled.initial_pixels(), distilled.size
    real = [""] * _PAIRS if start is None else [_data_uri(x) for x in start[:_PAIRS]]
    found = list(zip(real, map(_data_uri, distilled.pixels()[:_PAIRS]), strict=False))
    return Pairs(
        seed=distilled.provenance.get("seed", 0),
        total=len(distilled.images),
        side=_side(size),
        first=found[:_FIRST],
        rest=found[_FIRST:],
    )


def _side(size: int) -> int:
    """The size, on the page, of an image of `size` pixels."""
    return min(_SIDES[1], max(size, size * round(_SIDES[0] / size)))


def view_rows(distilled: DistilledSet) -> list[list[str]]:
    """The first views of a few images: a row of data URIs for each; the first is the image."""
    shown = distilled.views_shown(_VIEWS)
    found = distilled.view_pixels(images=_ROWS, views=shown)
    return [[_data_uri(view) for view in row] for row in found.split(shown)]


@dataclass(frozen=True)
class StageTime:
    """The seconds of one sort of stage, over all seeds and methods."""

    name: str
    parts: int
    seconds: float
    share: float  # of the longest

    @property
    def time(self) -> str:
        """The duration as text."""
        return duration(self.seconds)


def stage_times(seconds: Mapping[str, float], sorts: Mapping[str, str]) -> list[StageTime]:
    """Stages with those of one sort added up, ordered by their time.

    >>> times = {"probe-mkdt-seed0": 1.0, "probe-none-seed1": 1.0}
    >>> [(s.name, s.parts) for s in stage_times(times, {name: "probing" for name in times})]
    [('probing', 2)]
    """
    groups: dict[str, list[float]] = {}
    for label, value in seconds.items():
        groups.setdefault(sorts.get(label, re.sub(r"-seed\d+$", "", label)), []).append(value)
    longest = max((sum(values) for values in groups.values()), default=0.0) or 1.0
    stages = [StageTime(n, len(v), sum(v), sum(v) / longest) for n, v in groups.items()]
    return sorted(stages, key=lambda stage: -stage.seconds)


def duration(seconds: float) -> str:
    """A duration as text.

    >>> duration(0.42), duration(75), duration(3 * 3600 + 299)
    ('0.4 s', '1 min 15 s', '3 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def _lede(contents: Contents, first: DistilledSet | None) -> str:
    """What the page shows, in two sentences."""
    if first is None and contents.views:
        views = contents.views
        made = (
            f"decoct kept {len(views.images)} images {_views_said(views)}, so that a network "
            "pre-trained on these few images learns what it would learn from all"
        )
    elif first is None:
        made = "This run compares ways to choose a few images on which to pre-train a network"
    else:
        source = first.provenance.get("images", "")
        pool = f"the unlabelled images of {source}" if source else "unlabelled images"
        made = (
            f"From {pool}, decoct distilled a set of {len(first)} synthetic ones, so that a "
            "network pre-trained on these few images learns what it would learn from all"
        )
        if contents.views:
            views = contents.views
            made += (
                f". The method {views.method} made another set of {len(views.images)} images "
                f"{_views_said(views)}"
            )
    shown = "the images, how they were learnt, and " if first or contents.views else ""
    return (
        f"{made}. Below are {shown}the accuracies of linear classifiers that use such a network's "
        "features and few labels, with baselines for comparison."
    )


def _views_said(distilled: DistilledSet) -> str:
    if distilled.labeller is None:
        return f"in {distilled.views_each} views each, with targets of their own"
    return "with a small network that labels fresh views of them while training"


def _glance(
    contents: Contents, first: DistilledSet | None, compared: list[Comparison]
) -> list[tuple[str, str, str]]:
    """The key numbers, each with a name and a remark."""
    cards = []
    if first:
        shape = f"{first.size} × {first.size} pixels"
        cards.append(("synthetic images", f"{len(first):,}", shape))
    cards += [card for comparison in compared for card in headline(comparison, contents.hero)]
    if contents.seconds:
        parts = len(contents.seconds)
        cards.append(("time", duration(sum(contents.seconds.values())), f"{parts} stages"))
    return cards


def _learning(contents: Contents) -> Iterator[tuple[str, str, Markup]]:
    """Title, explanation and plot of each available learning curve."""
    for key, title, y, text in _CURVES:
        series = {
            f"seed {seed}": found.history[key].tolist()
            for seed, found in contents.sets.items()
            if len(found.history.get(key, ()))
        }
        if series:
            yield title, text, curves(series, title=title, x="iteration", y=y, smooth=key == "loss")
    if contents.teacher_losses:
        title = "The teacher's loss"
        text = "The self-supervised loss of the teacher whose representations were distilled."
        plot = curves({"": contents.teacher_losses}, title=title, x="epoch", y="loss")
        yield title, text, plot


_CURVES = (
    (
        "loss",
        "The matching loss",
        "loss",
        "How far from an expert a student ends that trains on the synthetic images; 1 means that "
        "it is no nearer than at the start.",
    ),
    (
        "lr",
        "The learnt learning rate",
        "learning rate",
        "The rate of the student's gradient descent, learnt together with images and targets.",
    ),
)


def _versions(contents: Contents) -> list[tuple[str, str]]:
    """The versions that the run was made with; if it does not say, those of this page."""
    here = {"python": platform.python_version(), **versions(), "platform": platform.platform()}
    missing = {f"{k} (of this page)": v for k, v in here.items() if k not in contents.versions}
    return [*contents.versions.items(), *missing.items()]


def _data_uri(pixels: Tensor) -> str:
    png: Any = png_bytes(image_grid(pixels.unsqueeze(0)).convert("RGB"))
    return "data:image/png;base64," + base64.b64encode(png).decode()
