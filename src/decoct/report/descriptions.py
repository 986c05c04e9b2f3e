"""A description of each kind of artefact, in a few lines of text."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal as size_text
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import storage
from decoct.data.images import Images
from decoct.evaluation.scores import Scores
from decoct.report.ablation_table import ablation_text
from decoct.report.frontier import frontier_tables
from decoct.report.table import columns, text_table
from decoct.report.variance_table import variance_text
from decoct.studies.ablation import Ablation
from decoct.studies.fit import Fit, fit_rows
from decoct.studies.frontier.cells import Frontier
from decoct.studies.tune import Tuning, tuning_rows
from decoct.studies.variance.findings import Findings, Variance


def _lines(title: str, facts: Mapping[str, object]) -> str:
    """A title and aligned facts, without the empty ones.

    >>> print(_lines("thing", {"a": 1, "none": "", "long": 2}))
    thing
      a     1
      long  2
    """
    kept = {name: str(value) for name, value in facts.items() if str(value)}
    width = max(map(len, kept), default=0)
    return "\n".join([title, *(f"  {name.ljust(width)}  {value}" for name, value in kept.items())])


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{value:.3f}" for value in values.tolist())


def _course(values: Any) -> str:
    """The first and last value of a series."""
    values = list(values)
    if not values:
        return ""
    return f"{float(values[0]):.4g} at first, {float(values[-1]):.4g} at the end"


def _network(config: Mapping[str, Any]) -> str:
    width = f", width {config['width']}" if config.get("width") else ""
    depth = f", depth {config['depth']}" if config["name"].startswith("convnet") else ""
    return f"{config['name']}{width}{depth}"


def _describe_images(path: Path) -> str:
    images = Images.load(path)
    labels = ""
    if images.labels is not None:
        names = ", ".join(images.class_names[:10]) + ", ..." * (len(images.class_names) > 10)
        labels = f"{len(set(images.labels.tolist()))} classes" + (f": {names}" if names else "")
    return _lines(
        f"{path.name}: {len(images)} images, {images.name}",
        {
            "shape": f"{images.channels} x {images.size} x {images.size}, uint8",
            "mean": _numbers(images.mean),
            "deviation": _numbers(images.std),
            "labels": labels or "none",
            "memory": size_text(images.pixels.nbytes),
        },
    )


def _describe_encoder(path: Path) -> str:
    encoder = Encoder.load(path)
    provenance = encoder.provenance
    config = provenance.get("config", {})
    seen = {
        "trained by": config.get("algorithm", ""),
        "trained on": provenance.get("images", provenance.get("method", "")),
        "brought from": provenance.get("source", ""),
        "epochs": len(provenance.get("losses", [])) or "",
        "loss": _course(provenance.get("losses", [])),
    }
    count = sum(p.numel() for p in encoder.network.body.parameters())
    return _lines(
        f"{path.name}: encoder, {_network(asdict(encoder.config))}",
        {
            "parameters": f"{count:,}",
            "input": f"{encoder.channels} x {encoder.size} x {encoder.size}",
            "features": encoder.network.feature_count,
            "mean": _numbers(encoder.mean),
            "deviation": _numbers(encoder.std),
            **seen,
        },
    )


def _describe_assistant(path: Path) -> str:
    assistant = Assistant.load(path)
    losses = assistant.provenance.get("losses", [])
    return _lines(
        f"{path.name}: assistant, {_network(asdict(assistant.config))}",
        {
            "parameters": f"{sum(p.numel() for p in assistant.network.parameters()):,}",
            "input": f"{len(assistant.mean)} x {assistant.size} x {assistant.size}",
            "labels": f"{assistant.outputs} dimensions for any view",
            "trained on": assistant.provenance.get("images", ""),
            "epochs": len(losses) or "",
            "loss": _course(losses),
        },
    )


def _describe_targets(path: Path) -> str:
    targets = Targets.load(path)
    inputs, kept = targets.rotation.shape
    varying = targets.values.var(0, correction=0)
    return _lines(
        f"{path.name}: targets of {len(targets)} images, {targets.dimensions} dimensions each",
        {
            "principal components": f"{kept} of {inputs} dimensions" if inputs else "not taken",
            "variance": f"{varying.mean():.3f} (mean over dimensions), "
            f"{varying.min():.3g} to {varying.max():.3g}",
        },
    )


def _describe_expert(path: Path) -> str:
    tensors, meta = storage.load_tensors(path, kind="expert")
    parameters = tensors["parameters"]
    return _lines(
        f"{path.name}: expert {meta['expert']}, {_network(meta['config']['network'])}",
        {
            "epochs": f"{len(parameters) - 1}, and the initial parameters",
            "parameters": f"{parameters.shape[1]:,}",
            "loss": _course(tensors["losses"]),
            "seed": meta["seed"],
        },
    )


def describe_experts(folder: Path) -> str:
    """A whole folder of expert trajectories."""
    experts = Trajectories.load(folder)
    last = [storage.load_tensors(f, kind="expert")[0]["losses"][-1].item() for f in experts.files]
    return _lines(
        f"{folder.name}: {len(experts)} experts, {_network(asdict(experts.network))}",
        {
            "epochs": f"{experts.epochs}, and the initial parameters",
            "parameters": f"{experts.expert(0).shape[1]:,}",
            "last loss": f"{min(last):.4g} to {max(last):.4g}",
            "on disk": size_text(sum(file.stat().st_size for file in experts.files)),
        },
    )


def _describe_difficulty(path: Path) -> str:
    values = storage.load_tensors(path, kind="difficulty")[0]["difficulty"]
    low, middle, high = values.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    hardest = values.topk(min(5, len(values))).indices.tolist()
    return _lines(
        f"{path.name}: the difficulty of {len(values)} images (squared error of the experts)",
        {
            "mean": f"{values.mean():.4g}",
            "median": f"{middle:.4g}, nine of ten from {low:.4g} to {high:.4g}",
            "hardest": "images " + ", ".join(map(str, hardest)),
        },
    )


def _describe_distilled(path: Path) -> str:
    distilled = DistilledSet.load(path)
    rule, provenance, history = distilled.rule, distilled.provenance, distilled.history
    shape = f"{distilled.channels} x {distilled.size} x {distilled.size}"
    real = " (real images)" if distilled.initial is None and distilled.index is not None else ""
    return _lines(
        f"{path.name}: distilled set by {distilled.method}, {len(distilled.images)} images{real}",
        {
            "images": shape,
            "views": _views(distilled),
            "labeller": _labeller(distilled),
            "targets": f"{distilled.dimensions} dimensions each"
            if distilled.has_targets
            else f"none: {provenance['objective']['algorithm']} loss of two views",
            "coded": ", ".join(f"{n} as {part.code}" for n, part in distilled.coded.items()),
            "to keep": size_text(distilled.bytes),
            "on disk": size_text(path.stat().st_size),
            "train with": rule,
            "made with": _network(asdict(distilled.network)),
            "from": provenance.get("images", ""),
            "seed": provenance.get("seed", ""),
            "iterations": len(history.get("loss", [])) or "",
            "STOPPED EARLY": distilled.stopped and f"{distilled.stopped}: its loss was not finite",
            "loss": _course(history.get("loss", [])),
            "learning rate": _course(history.get("lr", [])),
            "written by": _versions(provenance),
        },
    )


def _views(distilled: DistilledSet) -> str:
    if distilled.labeller is not None:
        return "fresh ones at every step"
    return f"{distilled.views_each} of each image" * (distilled.views is not None)


def _labeller(distilled: DistilledSet) -> str:
    labeller = distilled.labeller
    if labeller is None:
        return ""
    code = next((p.code for p in labeller.coded.values() if p.code == "int8"), "")
    weights = code or ("float16" if labeller.coded else "float32")
    return f"{_network(asdict(labeller.config))}, {weights}, {size_text(labeller.bytes)}"


def _describe_scores(path: Path) -> str:
    scores = Scores.load(path)
    seeds = sorted({s.seed for s in scores.scores})
    summary = _lines(
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
    found = storage.load_json(path, kind="probe")["scores"]
    groups: dict[str, list[float]] = {}
    for score in found:
        groups.setdefault(f"{score['task']}, {score['labels']}", []).append(score["accuracy"])
    values = {
        name: ", ".join(f"{value:.1f} %" for value in accuracies)
        for name, accuracies in groups.items()
    }
    return _lines(f"{path.name}: {len(found)} accuracies of one encoder", values)


def _describe_run(path: Path) -> str:
    content = storage.load_json(path, kind="run")
    seconds = content["seconds"]
    stages = {
        label: f"{seconds[label]:8.1f} s  {folder}" if label in seconds else f"{'':10}  {folder}"
        for label, folder in content["stages"].items()
    }
    title = f"{path.parent.resolve().name}: a run of {len(stages)} stages"
    return _lines(
        f"{title}, {sum(seconds.values()):.0f} s in all", stages | {"made by": _versions(content)}
    )


def _versions(provenance: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {provenance[name]}" for name in ("decoct", "torch") if name in provenance
    )


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
    return _lines(
        f"{path.name}: the gradients and trajectories of {found.name}",
        {
            "images": found.images,
            "learning rate": f"{found.lr:g}",
            "loss": _course(found.losses),
            "gradients": f"noise at {len(found.noise)} points and batch sizes",
            "matching loss": f"{matching.first:.4g} at first, {matching.last:.4g} at the end",
            "pixels moved": f"{matching.moved:.4g} standard deviations",
        },
    )


def _describe_target_probe(path: Path, kind: str = "target-probe") -> str:
    error = storage.load_json(path, kind=kind)["error"]
    value = "training diverged" if error is None else f"{error:.4f}"
    return _lines(
        f"{path.name}: the target-probe error of one encoder",
        {"error": value, "scale": "0: all of the targets' variance is explained; 1: none"},
    )


def _describe_checkpoint(path: Path) -> str:
    tensors, meta = storage.load_tensors(path, kind="checkpoint")
    return _lines(
        f"{path.name}: the state of interrupted training; the same command continues from it",
        {
            "numbers": f"{sum(tensor.numel() for tensor in tensors.values()):,}",
            "loss": _course(meta.get("losses", meta.get("loss", []))),
            "on disk": size_text(path.stat().st_size),
        },
    )


DESCRIBERS: dict[str, Callable[[Path], str]] = {
    "images": _describe_images,
    "encoder": _describe_encoder,
    "assistant": _describe_assistant,
    "targets": _describe_targets,
    "expert": _describe_expert,
    "difficulty": _describe_difficulty,
    "distilled": _describe_distilled,
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
    "checkpoint": _describe_checkpoint,
    "run": _describe_run,
}
