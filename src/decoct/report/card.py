"""The card of a distilled set on the Hugging Face hub: what README.md says there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.hub import PREFIX
from decoct.core.extras import import_extra
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import Scores
from decoct.methods.registry import METHODS
from decoct.report.descriptions import distilled_facts
from decoct.report.rows import rows_said
from decoct.report.table import markdown, markdown_text, resampled, summary_rows

_TASK = "image-feature-extraction"  # as the hub calls it
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")  # as the hub calls them
_STEPS = 480  # of pre-training, unless scores say what they were measured with
# What the hub knows by name; it wants another licence's text under `license_details`.
_LICENCES = (
    "apache-2.0 mit bsd-2-clause bsd-3-clause unlicense gpl-2.0 gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 "
    "cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-3.0 cc-by-nc-4.0 "
    "cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
    "cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 odbl odc-by pddl gfdl etalab-2.0 "
    "ofl-1.1"
)
_CODE = """\
import decoct, timm, torch
from torch.utils.data import DataLoader, RandomSampler

distilled = decoct.load_distilled("{at}")
steps, batch = {steps}, distilled.rule.batch
loader = DataLoader(distilled, batch, sampler=RandomSampler(distilled, num_samples=steps * batch))
network = timm.create_model("resnet18", in_chans={channels}, num_classes=distilled.dimensions)
optimiser = decoct.Optimiser(distilled.rule, network.parameters(), steps=steps)
for images, targets in loader:
    optimiser.step(torch.nn.functional.mse_loss(network(images), targets))"""
_CODE_WITHOUT_TARGETS = """\
import decoct

distilled = decoct.load_distilled("{at}")
encoder = decoct.pretrain(distilled=distilled, config=decoct.PretrainConfig(steps={steps}))
encoder.save("encoder.safetensors")"""
_ROWS_CODE = """\
from datasets import load_dataset

rows = load_dataset("{name}", split="train").with_format("torch")
mean, std = {mean}, {std}
# a network learns to predict row["target"] from (row["image"] / 255 - mean) / std, channel by
# channel; the loss is the mean squared error"""


@dataclass(frozen=True)
class Measured:
    """What is known of encoders that were trained on such sets; each may be missing."""

    scores: Scores | None = None
    label_free: Sequence[dict[str, Any]] = ()  # by method and seed: error, rankme, agreement
    left_out: int = 0  # images that those were measured on


def card(
    distilled: DistilledSet, *, name: str, caption: str, licence: str, measured: Measured
) -> str:
    """The card as Markdown with YAML before it; all text from data is escaped.

    `name` is the repository's, `caption` says what `pictures.png` shows.
    """
    environment = Environment(
        loader=PackageLoader("decoct", "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_escaped,
    )
    licence = " ".join(licence.split())  # YAML has its own idea of what ends a line
    kind = METHODS.get(distilled.method)
    facts = distilled_facts(distilled)
    text = environment.get_template("card.jinja").render(
        title=name.partition("/")[2],
        count=f"{len(distilled.images):,}",
        real=distilled.is_real,
        size=distilled.size,
        pool=distilled.provenance.get("images", ""),
        method=distilled.method,
        summary=kind.summary.rstrip(".") if kind else "",
        paper=kind.paper if kind else "",
        caption=caption[:1].upper() + caption[1:],
        code=Markup(_code(distilled, name, measured)),
        rows_code=Markup(_rows_code(distilled, name)),
        rule=distilled.rule,
        labelled=distilled.labeller is not None,
        targets=distilled.has_targets,
        rows=rows_said(distilled),
        facts=[(fact, value) for fact, value in facts.items() if str(value)],
        scores=list(_score_parts(measured)),
        licence=licence,
    )
    return f"---\n{_metadata(distilled, name=name, licence=licence)}\n---\n\n{text}"


def _code(distilled: DistilledSet, name: str, measured: Measured) -> str:
    facts = measured.scores.facts.get(distilled.method, {}) if measured.scores else {}
    code = _CODE if distilled.has_targets else _CODE_WITHOUT_TARGETS
    steps = int(facts.get("steps", _STEPS))
    return code.format(at=f"{PREFIX}{name}", steps=steps, channels=distilled.channels)


def _rows_code(distilled: DistilledSet, name: str) -> str:
    mean, std = (
        [round(value, 6) for value in numbers.tolist()]
        for numbers in (distilled.mean, distilled.std)
    )
    return _ROWS_CODE.format(name=name, mean=mean, std=std)


def _score_parts(measured: Measured) -> Iterator[dict[str, str | Markup]]:
    """Title, table and legend of what was measured."""
    scores = measured.scores
    for name, part in scores.terms() if scores else ():
        seeds = len({score.seed for score in part.scores})
        yield {
            "title": "Accuracy of linear classifiers on the features of encoders, by the labels "
            "that they learn from" + f", at {name}" * bool(name),
            "table": _table(summary_rows(part, "accuracy")),
            "legend": f"In per cent, mean over the tasks {', '.join(part.tasks())} and {seeds} "
            f"seed{'s' * (seeds > 1)} (a set for each) ± half of the 95 % interval "
            f"({resampled(seeds)}). random: as many random images; full: all of them.",
        }
    if measured.label_free:
        yield {
            "title": "Without labels, as the features of encoders predict the teacher's",
            "table": _table(_label_free_rows(measured.label_free)),
            "legend": f"On {measured.left_out:,} images left out; mean over seeds ± half of the "
            "95 % interval. error: the share of the targets' variance that the features do not "
            "predict (less is better). RankMe: how many directions the features use. agreement: "
            "the share of an image's nearest neighbours that are the teacher's too.",
        }


def _label_free_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    found = [["method", "error", "RankMe", "agreement"]]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        error, rankme, agreement = (
            Interval.of([row[key] for row in own]) for key in ("error", "rankme", "agreement")
        )
        found.append([str(method), error.share(), str(rankme), agreement.share()])
    return found


def _table(rows: list[list[str]]) -> Markup:
    return Markup(markdown(rows))


def _metadata(distilled: DistilledSet, *, name: str, licence: str) -> str:
    """The YAML that the hub reads."""
    hub: Any = import_extra("huggingface_hub", extra="hf", package="huggingface_hub")
    count = len(distilled)
    data = hub.DatasetCardData(
        **_licence(licence),
        pretty_name=name.partition("/")[2],
        tags=["decoct", "dataset-distillation", "self-supervised-learning", distilled.method],
        task_categories=[_TASK],
        size_categories=[_SIZES[min(len(_SIZES) - 1, max(0, len(str(count)) - 3))]],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    )
    return str(data.to_yaml())


def _licence(text: str) -> dict[str, Any]:
    """A licence in the hub's terms, several with commas between; nothing if none is given.

    >>> _licence("mit, apache-2.0")
    {'license': ['mit', 'apache-2.0']}
    >>> _licence("No sale")
    {'license': 'other', 'license_name': 'no-sale', 'license_details': 'No sale'}
    """
    names = [name.strip().lower() for name in text.split(",")]
    if set(names) <= set(_LICENCES.split()):
        return {"license": names[0] if len(names) == 1 else names}
    if not text.strip():
        return {}
    slug = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:40]
    return {"license": "other", "license_name": slug or "other", "license_details": text}


def _escaped(value: object) -> str:
    """Text as it is; what is `Markup` is Markdown already."""
    return str(value) if isinstance(value, Markup) else markdown_text(str(value))
