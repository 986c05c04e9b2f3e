"""What is installed, what is missing, and what a recipe would take."""

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.filesize import decimal as size_text

from decoct import __version__
from decoct.core.device import raise_malloc_thresholds, resolve_device
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.methods.sizes import Sizes
from decoct.run.division import seconds_of_run
from decoct.run.expected import outlook
from decoct.run.graph import Graph
from decoct.run.recipe import Recipe
from decoct.run.sizes import disk, disk_warning, free_bytes, measure_sizes, memory
from decoct.run.stage import Stage
from decoct.run.timing import by_sort, seconds_by_name

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "kornia", "safetensors", "pillow", "tyro")
_EXTRAS = {
    "torchvision": "torchvision",
    "timm": "timm",
    "datasets": "hf",
    "huggingface_hub": "hf",
    "pillow_heif": "heif",
    "submitit": "slurm",
}


def doctor(recipe: Recipe | None = None, *, folder: Path = Path(), devices: int = 1) -> str:
    """A report on this machine, and on what `recipe` would take with its run kept in `folder`.

    With `devices`, also how long so many would take. Times are estimated from a few seconds of
    measuring on the recipe's device. Raises `DecoctError` if the recipe's own files or device are
    not available.
    """
    parts = [_versions(), _devices(), _extras(), _disk(folder)]
    if recipe is not None:
        parts.append(_recipe(recipe, folder, devices))
    return "\n\n".join(parts)


def _section(title: str, lines: dict[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in lines.items())])


def _versions() -> str:
    lines = {"decoct": __version__, "python": f"{platform.python_version()}, {platform.platform()}"}
    return _section("versions", lines | {name: _version(name) for name in _PACKAGES})


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    lines = {"cpu": f"{cores()} cores, torch uses {torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            lines[f"cuda:{i}"] = f"{properties.name}, {size_text(properties.total_memory)}"
    else:
        built = torch.version.cuda
        why = "no GPU or driver found" if built else "this torch was built without it"
        lines["cuda"] = f"none: {why}"
    lines["mps"] = "available" if torch.backends.mps.is_available() else "none"
    raised = raise_malloc_thresholds()
    lines["malloc thresholds"] = "raised" if raised else "not raised (no glibc): CPU is slower"
    return _section("devices", lines | {"used by default": str(resolve_device())})


def cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _extras() -> str:
    return _section("optional extras", {name: _extra(name) for name in _EXTRAS})


def _extra(package: str) -> str:
    try:
        import_extra(package, extra=_EXTRAS[package], package=package)
    except DecoctError as error:
        return str(error).removeprefix(f"{package} ")
    return _version(package)


def _disk(folder: Path) -> str:
    return _section("disk", {"free": f"{size_text(free_bytes(folder))} at {folder.resolve()}"})


def _recipe(recipe: Recipe, folder: Path, devices: int) -> str:
    sizes = measure_sizes(recipe)
    title = f"recipe {recipe.name}"
    if sizes is None:
        source = recipe.images.source
        return f"{title}\n  the number of images in {source} is unknown until it is downloaded"
    graph = Graph(recipe)
    stages = graph.of_a_run()
    parts = [
        _section(title, _counts(recipe, sizes)),
        _section("  disk", _disk_needed(stages, sizes, folder)),
        _section("  memory, about", _memory_needed(stages, sizes)),
        _section(
            "  time, estimated from a few seconds of measuring",
            _time_needed(graph, sizes, devices),
        ),
    ]
    expected = _expected(recipe, sizes)
    if expected:
        parts.append(_section("  pre-training, and what it gave on our proxy suite", expected))
    return "\n".join(parts)


def _expected(recipe: Recipe, sizes: Sizes) -> dict[str, str]:
    """What steps cost here and gave elsewhere, for sets of 0.3 and 1.2 MB and two networks."""
    return {
        f"  {o.steps:,} steps": f"{duration_text(o.seconds)}; {o.lowest:.2f} to {o.highest:.2f} of "
        "the way from random to all images"
        for o in outlook(recipe, sizes, resolve_device(recipe.device))
    }


def _counts(recipe: Recipe, sizes: Sizes) -> dict[str, str]:
    images = recipe.images
    known = ", ".join(
        f"{name} {f'{task.train:,} + {task.test:,}' if task else 'of unknown size (not included)'}"
        for name, task in zip(recipe.compare.tasks, sizes.tasks, strict=True)
    )
    return {
        "pool": f"{sizes.pool:,} images of {images.channels} x {images.size} x {images.size}",
        "distilled set": f"{sizes.count:,} images, targets of {sizes.dimensions} dimensions",
        "student": f"{sizes.parameters(sizes.student, sizes.dimensions):,} parameters",
        "tasks": known or "none",
    }


def _disk_needed(stages: Sequence[Stage[Any]], sizes: Sizes, folder: Path) -> dict[str, str]:
    lines = {f"  {name}": size_text(count) for name, count in disk(stages, sizes).items()}
    warning = disk_warning(stages, sizes, folder)
    return (lines or {"  needed": "little: no experts are trained"}) | (
        {"  TOO LITTLE": warning} if warning else {}
    )


def _memory_needed(stages: Sequence[Stage[Any]], sizes: Sizes) -> dict[str, str]:
    found = memory(stages, sizes)
    lines = {f"  {name}": size_text(count) for name, count in found.items()}
    return lines | {"  together": size_text(sum(found.values()))}


def _time_needed(graph: Graph, sizes: Sizes, devices: int) -> dict[str, str]:
    stages, device = graph.of_a_run(), resolve_device(graph.recipe.device)
    seconds = seconds_by_name(stages, sizes, device)
    found = by_sort(stages, seconds)
    if devices > 1:
        shared = by_sort(stages, seconds_of_run(graph, seconds, devices))
        lines = _side_by_side(found, shared, devices, device)
    else:
        lines = {f"  {name}": duration_text(value) for name, value in found.items()}
        lines["  together"] = f"{duration_text(sum(found.values()))} on {device}"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 1.3 * cores():
        lines["  busy"] = f"{load:.1f} jobs share {cores()} cores now, so the estimate is too long"
    return lines


def _side_by_side(
    one: Mapping[str, float], many: Mapping[str, float], devices: int, device: torch.device
) -> dict[str, str]:
    """A line for each sort of stage: its time on one device, and on several."""

    def row(first: float, second: float) -> str:
        return f"{duration_text(first):<10}  {duration_text(second)}"

    lines = {"  stage": f"{'1 device':<10}  {devices} devices"}
    lines |= {f"  {name}": row(value, many[name]) for name, value in one.items()}
    lines["  together"] = row(sum(one.values()), sum(many.values()))
    lines["  assumed"] = (
        f"{devices} devices, each as fast as this {device}, and nothing lost to traffic between "
        "them; a stage that cannot be divided is made by one of them"
    )
    return lines


def duration_text(seconds: float) -> str:
    """A duration for people.

    >>> duration_text(0.4), duration_text(90), duration_text(9000), duration_text(400000)
    ('1 s', '90 s', '2.5 h', '4.6 days')
    """
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    for unit, length, up_to in (("min", 60, 120), ("h", 3600, 48)):
        if seconds < up_to * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"
