"""The stage table of the experts: their trajectories, and how hard they find each image."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoct.artefacts.trajectories import Trajectories
from decoct.core import storage
from decoct.core.device import resolve_device
from decoct.core.forms import check_forms, understood
from decoct.core.place import Place
from decoct.methods.inputs import Inputs
from decoct.methods.mtt_ssl import SWEEP, ssl_matching_step, train_ssl_experts
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit, gradient_step
from decoct.run.recipe import Recipe
from decoct.run.stage import ANY_NUMBER, LEARNT, Artefact, Stage
from decoct.training.difficulty import difficulty as measured_difficulty
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts

_FORWARD = 1 / 3  # time of a forward pass, in steps


def trajectory_bytes(config: ExpertsConfig, parameters: int) -> int:
    """Experts x (epochs + 1) x P numbers: what the trajectories take on disk and in memory.

    >>> trajectory_bytes(ExpertsConfig(), 1_348_608)  # 100 experts of 3 epochs
    2157772800
    """
    bytes_a_number: int = getattr(torch, config.dtype).itemsize
    return config.count * (config.epochs + 1) * parameters * bytes_a_number


def _trajectories(recipe: Recipe, config: ExpertsConfig, outputs: int | None) -> dict[str, Any]:
    """Disk and memory of experts with so many outputs; None: as many as the targets have."""
    name = "trajectories" if outputs is None else "trajectories without targets"

    def parameters(sizes: Sizes) -> int:
        return sizes.parameters(config.network, sizes.dimensions if outputs is None else outputs)

    def networks(dimensions: int) -> tuple[tuple[Any, int], ...]:
        return ((config.network, dimensions if outputs is None else outputs),)

    def disk(sizes: Sizes) -> int:
        return trajectory_bytes(config, parameters(sizes))

    def memory(sizes: Sizes) -> Mapping[str, int]:
        whole = trajectory_bytes(config, parameters(sizes))
        if resolve_device(recipe.device).type == "cpu":
            return {name: whole}
        kept = min(whole, int(recipe.matching.expert_memory * 1e9))
        return {name: whole, f"{name}, on the device": kept}

    return {
        "disk": disk,
        "memory": memory,
        "networks": networks,
        "fills_folder": True,
        "parts": config.count,
        "read": config.count,  # expert k is the same however many there are
    }


def _but_count(config: ExpertsConfig) -> dict[str, Any]:
    settings = asdict(config)
    del settings["count"]
    return settings


def experts(recipe: Recipe) -> Stage[Trajectories]:
    """The parameters of students of the targets, for every epoch."""
    config = recipe.experts

    def make(inputs: Inputs, place: Place) -> Trajectories:
        assert place.folder is not None
        return train_experts(
            images=inputs.images,
            targets=inputs.targets,
            folder=place.folder,
            config=config,
            seed=recipe.seed,
            device=place.device,
            state=place.state,
        )

    def work(sizes: Sizes) -> Mapping[Unit, float]:
        step = gradient_step(config.network, config.batch)
        return {step: config.count * config.epochs * sizes.images}

    return Stage(
        name="experts",
        inputs=tuple(LEARNT.values()),
        aliases=LEARNT,
        settings=(_but_count(config), recipe.seed),
        make=make,
        work=work,
        **_trajectories(recipe, config, None),
    )


def read_difficulty(path: Path) -> Tensor:
    """Each image's difficulty, from the stage's file: N."""
    with understood(path):
        tensors, _ = storage.load_tensors(path, kind="difficulty")
        check_forms(tensors, {"difficulty": "float N"})
        return tensors["difficulty"]


def difficulty(recipe: Recipe) -> Stage[Tensor]:
    """How hard students find each image: N."""
    config = recipe.experts

    def make(inputs: Inputs, place: Place) -> Tensor:
        return measured_difficulty(
            images=inputs.images,
            targets=inputs.targets,
            trajectories=inputs.trajectories,
            device=place.device,
        )

    def save(values: Tensor, path: Path) -> None:
        storage.save_tensors(path, {"difficulty": values}, kind="difficulty", meta={})

    def work(sizes: Sizes) -> Mapping[Unit, float]:
        step = gradient_step(config.network, config.batch)
        return {step: config.count * sizes.images * _FORWARD}

    return Stage(
        name="difficulty",
        inputs=(*LEARNT.values(), "experts"),
        aliases=LEARNT,
        settings=(),
        make=make,
        artefact=Artefact("difficulty.safetensors", "difficulty", read_difficulty, save),
        work=work,
        parts=ANY_NUMBER,
    )


def ssl_experts(recipe: Recipe) -> Stage[Trajectories]:
    """As `experts`, but for students that train by self-supervision."""
    own = recipe.mtt_ssl
    config = replace(recipe.experts, lr=own.lr)

    def make(inputs: Inputs, place: Place) -> Trajectories:
        assert place.folder is not None
        return train_ssl_experts(
            images=inputs.images,
            folder=place.folder,
            objective=own.objective,
            lr=own.lr,
            experts=config,
            seed=recipe.seed,
            device=place.device,
            state=place.state,
        )

    def work(sizes: Sizes) -> Mapping[Unit, float]:
        step = ssl_matching_step(config.network, own.objective)
        return {step: config.count * config.epochs * sizes.images / SWEEP}

    return Stage(
        name="ssl-experts",
        inputs=(LEARNT["images"],),
        aliases=LEARNT,
        settings=(_but_count(config), own.objective, recipe.seed),
        make=make,
        work=work,
        **_trajectories(recipe, config, own.objective.projector),
    )
