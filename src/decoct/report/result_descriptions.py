"""A description of each kind of measured result, in a few lines of text."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from decoct.evaluation.finetune import read_finetuned
from decoct.evaluation.label_free import LabelFreeScores
from decoct.evaluation.scores import Scores
from decoct.report.ablation_table import ablation_text
from decoct.report.frontier import frontier_tables
from decoct.report.label_free import label_free_text
from decoct.report.lines import course, lines
from decoct.report.readers import read_plan
from decoct.report.table import columns, text_table
from decoct.report.variance_table import variance_text
from decoct.run.method_stages import read_probe
from decoct.studies.ablation import Ablation
from decoct.studies.fit import Fit, fit_rows
from decoct.studies.frontier.cells import Frontier
from decoct.studies.held_out import read_error
from decoct.studies.tune import Tuning, tuning_rows
from decoct.studies.variance.findings import Findings, Variance


def _describe_scores(path: Path) -> str:
    scores = Scores.load(path)
    seeds = sorted({s.seed for s in scores.scores})
    summary = lines(
        f"{path.name}: {len(scores.scores)} accuracies",
        {
            "methods": ", ".join(dict.fromkeys(s.method for s in scores.scores)),
            "tasks": ", ".join(scores.tasks()),
            "labels": ", ".join(scores.labels()),
            "seeds": ", ".join(map(str, seeds)),
        },
    )
    return f"{summary}\n\n{text_table(scores)}" if scores.scores else summary


def _describe_probe(path: Path) -> str:
    found = read_probe(path)
    groups: dict[str, list[float]] = {}
    for score in found:
        groups.setdefault(f"{score.task}, {score.labels}", []).append(score.accuracy)
    values = {
        name: ", ".join(f"{value:.1f} %" for value in accuracies)
        for name, accuracies in groups.items()
    }
    return lines(f"{path.name}: {len(found)} accuracies of one encoder", values)


def _describe_ablation(path: Path) -> str:
    ablation = Ablation.load(path)
    title = f"{path.name}: {ablation.name} with one thing changed at a time"
    return f"{title}\n\n{ablation_text(ablation)}"


def _describe_variance(path: Path) -> str:
    variance = Variance.load(path)
    title = f"{path.name}: how much the gradients of {len(variance.findings)} objectives vary"
    return f"{title}\n\n{variance_text(variance)}"


def _describe_tuning(path: Path) -> str:
    tuning = Tuning.load(path)
    title = f"{path.name}: {len(tuning.trials)} trials, measured on held-out pool images"
    return f"{title}\n\n{columns(tuning_rows(tuning))}"


def _describe_fit(path: Path) -> str:
    found = Fit.load(path)
    title = f"{path.name}: {len(found.candidates)} ways to keep {found.method} in {found.budget}"
    return f"{title}\n\n{columns(fit_rows(found))}"


def _describe_frontier(path: Path) -> str:
    frontier = Frontier.load(path)
    tables = frontier_tables(frontier)
    title = f"{path.name}: {len(frontier.cells)} places on the frontier of {frontier.name}"
    return "\n\n".join([title, *(f"{name}\n{columns(rows)}" for name, rows in tables.items())])


def _describe_findings(path: Path) -> str:
    found = Findings.load(path)
    matching = found.matching
    return lines(
        f"{path.name}: the gradients and trajectories of {found.name}",
        {
            "images": found.images,
            "learning rate": f"{found.lr:g}",
            "loss": course(found.losses),
            "gradients": f"noise at {len(found.noise)} points and batch sizes",
            "matching loss": f"{matching.first:.4g} at first, {matching.last:.4g} at the end",
            "pixels moved": f"{matching.moved:.4g} standard deviations",
        },
    )


def _describe_target_probe(path: Path, kind: str = "target-probe") -> str:
    error = read_error(path, kind=kind)
    value = "training diverged" if error is None else f"{error:.4f}"
    return lines(
        f"{path.name}: the target-probe error of one encoder",
        {"error": value, "scale": "0: all of the targets' variance is explained; 1: none"},
    )


def _describe_label_free(path: Path) -> str:
    found = LabelFreeScores.load(path)
    return f"{path.name}: {', '.join(found.methods)}, judged {label_free_text(found)}"


def _describe_plan(path: Path) -> str:
    known = read_plan(path)
    title = f"{path.name}: what decoct distill will do with a folder; plan.yaml has every setting"
    return lines(title, {"folder": known["folder"]})


def _describe_finetuned(path: Path) -> str:
    accuracy = read_finetuned(path)
    return lines(
        f"{path.name}: an encoder fine-tuned on one draw of labels",
        {"accuracy": f"{accuracy:.1f} % of the test images"},
    )


RESULTS: dict[str, Callable[[Path], str]] = {
    "scores": _describe_scores,
    "probe": _describe_probe,
    "ablation": _describe_ablation,
    "variance": _describe_variance,
    "findings": _describe_findings,
    "fit": _describe_fit,
    "frontier": _describe_frontier,
    "target-probe": _describe_target_probe,
    "pool-error": partial(_describe_target_probe, kind="pool-error"),  # its name in version 1
    "tuning": _describe_tuning,
    "label-free": _describe_label_free,
    "plan": _describe_plan,
    "finetuned": _describe_finetuned,
}
