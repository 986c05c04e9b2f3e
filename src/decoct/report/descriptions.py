"""A description of each kind of artefact, in a few lines of text."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal as size_text
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories, read_expert
from decoct.core import storage
from decoct.data.images import Images
from decoct.report.lines import course, lines
from decoct.report.result_descriptions import RESULTS
from decoct.run.expert_stages import read_difficulty
from decoct.run.manifest import read_manifest
from decoct.run.seconds import read_seconds


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{value:.3f}" for value in values.tolist())


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
    return lines(
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
        "loss": course(provenance.get("losses", [])),
    }
    count = sum(p.numel() for p in encoder.network.body.parameters())
    return lines(
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
    return lines(
        f"{path.name}: assistant, {_network(asdict(assistant.config))}",
        {
            "parameters": f"{sum(p.numel() for p in assistant.network.parameters()):,}",
            "input": f"{len(assistant.mean)} x {assistant.size} x {assistant.size}",
            "labels": f"{assistant.outputs} dimensions for any view",
            "trained on": assistant.provenance.get("images", ""),
            "epochs": len(losses) or "",
            "loss": course(losses),
        },
    )


def _describe_targets(path: Path) -> str:
    targets = Targets.load(path)
    inputs, kept = targets.rotation.shape
    varying = targets.values.var(0, correction=0)
    return lines(
        f"{path.name}: targets of {len(targets)} images, {targets.dimensions} dimensions each",
        {
            "principal components": f"{kept} of {inputs} dimensions" if inputs else "not taken",
            "variance": f"{varying.mean():.3f} (mean over dimensions), "
            f"{varying.min():.3g} to {varying.max():.3g}",
        },
    )


def _describe_expert(path: Path) -> str:
    tensors, meta = read_expert(path)
    parameters = tensors["parameters"]
    return lines(
        f"{path.name}: expert {meta['expert']}, {_network(meta['config']['network'])}",
        {
            "epochs": f"{len(parameters) - 1}, and the initial parameters",
            "parameters": f"{parameters.shape[1]:,}",
            "loss": course(tensors["losses"]),
            "seed": meta["seed"],
        },
    )


def describe_experts(folder: Path) -> str:
    """A whole folder of expert trajectories."""
    experts = Trajectories.load(folder)
    last = [read_expert(file)[0]["losses"][-1].item() for file in experts.files]
    return lines(
        f"{folder.name}: {len(experts)} experts, {_network(asdict(experts.network))}",
        {
            "epochs": f"{experts.epochs}, and the initial parameters",
            "parameters": f"{experts.expert(0).shape[1]:,}",
            "last loss": f"{min(last):.4g} to {max(last):.4g}",
            "on disk": size_text(sum(file.stat().st_size for file in experts.files)),
        },
    )


def _describe_difficulty(path: Path) -> str:
    values = read_difficulty(path)
    low, middle, high = values.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    hardest = values.topk(min(5, len(values))).indices.tolist()
    return lines(
        f"{path.name}: the difficulty of {len(values)} images (squared error of the experts)",
        {
            "mean": f"{values.mean():.4g}",
            "median": f"{middle:.4g}, nine of ten from {low:.4g} to {high:.4g}",
            "hardest": "images " + ", ".join(map(str, hardest)),
        },
    )


def _describe_distilled(path: Path) -> str:
    distilled = DistilledSet.load(path)
    real = " (real images)" if distilled.initial is None and distilled.index is not None else ""
    return lines(
        f"{path.name}: distilled set by {distilled.method}, {len(distilled.images)} images{real}"
        + ", STOPPED EARLY" * bool(distilled.stopped),
        {**distilled_facts(distilled), "on disk": size_text(path.stat().st_size)},
    )


def distilled_facts(distilled: DistilledSet) -> dict[str, object]:
    """What is known of a set, by name; what does not apply to it is empty."""
    rule, provenance, history = distilled.rule, distilled.provenance, distilled.history
    return {
        "images": f"{distilled.channels} x {distilled.size} x {distilled.size}",
        "views": _views(distilled),
        "labeller": _labeller(distilled),
        "targets": f"{distilled.dimensions} dimensions each"
        if distilled.has_targets
        else f"none: {provenance['objective']['algorithm']} loss of two views",
        "coded": ", ".join(f"{n} as {part.code}" for n, part in distilled.coded.items()),
        "to keep": size_text(distilled.bytes),
        "train with": rule,
        "made with": _network(asdict(distilled.network)),
        "from": provenance.get("images", ""),
        "seed": provenance.get("seed", ""),
        "iterations": len(history.get("loss", [])) or "",
        "STOPPED EARLY": distilled.stopped and f"{distilled.stopped}: its loss was not finite",
        "loss": course(history.get("loss", [])),
        "learning rate": course(history.get("lr", [])),
        "written by": _versions(provenance),
    }


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


def _versions(provenance: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {provenance[name]}" for name in ("decoct", "torch") if name in provenance
    )


def _describe_run(path: Path) -> str:
    content = read_manifest(path)
    seconds = content["seconds"]
    stages = {
        label: f"{seconds[label]:8.1f} s  {folder}" if label in seconds else f"{'':10}  {folder}"
        for label, folder in content["stages"].items()
    }
    title = f"{path.parent.resolve().name}: a run of {len(stages)} stages"
    return lines(
        f"{title}, {sum(seconds.values()):.0f} s in all", stages | {"made by": _versions(content)}
    )


def _describe_checkpoint(path: Path) -> str:
    tensors, meta = storage.load_tensors(path, kind="checkpoint")
    failed: Mapping[str, str] = meta.get("failing", {})
    use = "of interrupted training; the same command continues from it"
    if failed:
        use = f"before a step that is not finite; decoct replay {path} repeats it"
    return lines(
        f"{path.name}: the state {use}",
        {
            "step": failed.get("step", ""),
            "where": failed.get("where", ""),
            "numbers": f"{sum(tensor.numel() for tensor in tensors.values()):,}",
            "loss": course(meta.get("losses", meta.get("loss", []))),
            "on disk": size_text(path.stat().st_size),
        },
    )


def _describe_seconds(path: Path) -> str:
    title = f"{path.name}: how long a stage took, over all runs that worked on it"
    return lines(title, {"seconds": f"{read_seconds(path):.1f}"})


DESCRIBERS: dict[str, Callable[[Path], str]] = {
    "images": _describe_images,
    "encoder": _describe_encoder,
    "assistant": _describe_assistant,
    "targets": _describe_targets,
    "expert": _describe_expert,
    "difficulty": _describe_difficulty,
    "distilled": _describe_distilled,
    **RESULTS,
    "checkpoint": _describe_checkpoint,
    "run": _describe_run,
    "seconds": _describe_seconds,
}
