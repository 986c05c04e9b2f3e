"""Write the report: one self-contained HTML page."""

import base64
import hashlib
import importlib.resources
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from decoct.artefacts.provenance import versions
from decoct.core import atomic
from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.report.ablation_table import ablation_legend
from decoct.report.ablations import axis_sections
from decoct.report.by_class import class_tables
from decoct.report.contents import Contents, read_contents
from decoct.report.costs import cost_rows, costs
from decoct.report.duration import duration
from decoct.report.embedding_map import embedding_map
from decoct.report.frontier import panels
from decoct.report.galleries import gallery
from decoct.report.label_free import label_free_section
from decoct.report.learning import learning_curves
from decoct.report.neighbours import Neighbours, neighbours
from decoct.report.story import glance, lede, own_set
from decoct.report.table import legend
from decoct.report.usage import usage
from decoct.report.variance import variance_section
from decoct.report.verdicts import Comparison, comparisons
from decoct.report.weak_teacher import weak_teacher


def write_report(folder: Path | str, *, out: Path | None = None) -> Path:
    """Write the page about a run's folder, by default to `report.html` in it; returns its path.

    The page names what the run has not made. Raises `DecoctError` if the folder is not a run's.
    """
    folder = Path(folder)
    html = render(read_contents(folder))
    target = out or folder / "report.html"
    try:
        atomic.write_text(target, html)
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
    compared: list[Comparison] = comparisons(scores, contents.hero) if scores else []
    free = contents.label_free and label_free_section(contents.label_free, contents.hero)
    script = (importlib.resources.files("decoct.report") / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        contents=contents,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        lede=lede(contents),
        weak=(weak_teacher(scores) if scores else "") or (free.weak if free else ""),
        glance=glance(contents, compared),
        galleries=[
            gallery(method, *next(iter(sets.items()))) for method, sets in contents.sets.items()
        ],
        map=_map(contents),
        neighbours=_neighbours(contents),
        learning=list(learning_curves(contents)),
        compared=compared,
        by_class=class_tables(contents.probes, contents.hero),
        free=free,
        costs=cost_rows(costs(scores, contents.seconds, contents.inputs)) if scores else [],
        methods=_methods(scores) if scores else [],
        legend=legend(scores) if scores else "",
        variance=variance_section(contents.variance) if contents.variance else None,
        axes=axis_sections(contents.ablation) if contents.ablation else [],
        frontier=list(panels(contents.frontier)) if contents.frontier else [],
        axes_legend=ablation_legend(contents.ablation) if contents.ablation else "",
        stages=stage_times(contents.seconds, contents.sorts, contents.processes),
        total=duration(sum(contents.seconds.values())),
        usage=usage(contents),
        versions=_versions(contents),
    )


def _map(contents: Contents) -> Markup | None:
    """Where the pictures of the set lie in the pool, if it is known which they are."""
    pool, targets, own = contents.pool, contents.targets, own_set(contents)
    if not pool or not targets or own is None or own.index is None:
        return None
    if len(pool) != len(targets) or int(own.index.max()) >= len(pool):
        return None
    return embedding_map(pool=pool, targets=targets, distilled=own)


def _neighbours(contents: Contents) -> Neighbours | None:
    pool, targets, encoder = contents.pool, contents.targets, contents.encoder
    if not pool or not targets or not encoder or len(pool) != len(targets):
        return None
    own = own_set(contents)
    return neighbours(
        pool=pool, targets=targets, encoder=encoder, chosen=own.index if own else None
    )


def _methods(scores: Scores) -> list[tuple[str, str, str]]:
    """The name, summary and citation of each method that is compared."""
    names = dict.fromkeys(score.method for score in scores.scores)
    return [(m, METHODS[m].summary, METHODS[m].paper) for m in names if m in METHODS]


@dataclass(frozen=True)
class StageTime:
    """The seconds of one sort of stage, over all seeds and methods."""

    name: str
    parts: int
    seconds: float
    share: float  # of the longest
    processes: int  # that made them together, at most

    @property
    def time(self) -> str:
        """The duration as text."""
        many = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{duration(self.seconds)}{many}"


def stage_times(
    seconds: Mapping[str, float], sorts: Mapping[str, str], processes: Mapping[str, int]
) -> list[StageTime]:
    """Stages with those of one sort added up, ordered by their time.

    >>> times = {"probe-mkdt-seed0": 1.0, "probe-none-seed1": 1.0}
    >>> [(s.name, s.parts) for s in stage_times(times, {name: "probing" for name in times}, {})]
    [('probing', 2)]
    """
    groups: dict[str, list[str]] = {}
    for label in seconds:
        groups.setdefault(sorts.get(label, re.sub(r"-seed\d+$", "", label)), []).append(label)
    sums = {name: sum(seconds[label] for label in labels) for name, labels in groups.items()}
    longest = max(sums.values(), default=0.0) or 1.0
    stages = [
        StageTime(
            name,
            parts=len(labels),
            seconds=sums[name],
            share=sums[name] / longest,
            processes=max(processes.get(label, 1) for label in labels),
        )
        for name, labels in groups.items()
    ]
    return sorted(stages, key=lambda stage: -stage.seconds)


def _versions(contents: Contents) -> list[tuple[str, str]]:
    """The versions that the run was made with; if it does not say, those of this page."""
    here = {"python": platform.python_version(), **versions(), "platform": platform.platform()}
    missing = {f"{k} (of this page)": v for k, v in here.items() if k not in contents.versions}
    return [*contents.versions.items(), *missing.items()]
