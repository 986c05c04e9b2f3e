"""Numbers that are not finite, or too large for where they are to be kept, are refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoct.artefacts.coding import CodingConfig, compact
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets, TargetsConfig, compute_targets
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.evaluation.finetune import FinetuneConfig, finetune_scores
from decoct.evaluation.probe import ProbeConfig, probe
from decoct.models.registry import NetworkConfig
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts
from decoct.training.pretrain import fresh_encoder

COLOUR = {"mean": torch.zeros(3), "std": torch.ones(3)}


def encoder_with(weight: float) -> Encoder:
    found = fresh_encoder(NetworkConfig(width=4, depth=2), **COLOUR, size=16, seed=0)
    with torch.no_grad():
        next(found.network.body.parameters())[0] = weight
    return found


def with_statistics(variance: float) -> Encoder:
    """Finite parameters, but a running variance that is not."""
    network = NetworkConfig(name="convnet-bn", width=4, depth=2)
    found = fresh_encoder(network, **COLOUR, size=16, seed=0)
    dict(found.network.body.named_buffers())["1.running_var"].fill_(variance)
    return found


@pytest.mark.parametrize("components", [0, 2])
def test_a_teacher_that_is_not_finite_gives_no_targets(
    components: int, tiny_images: Images
) -> None:
    config = TargetsConfig(components=components)
    for teacher, name in ((encoder_with(math.nan), "0.weight"), (with_statistics(math.nan), "1.r")):
        with pytest.raises(DivergedError, match=rf"features of a convnet.* its {name}.* is not"):
            compute_targets(images=tiny_images, teacher=teacher, config=config)


@pytest.mark.parametrize("weight", [math.nan, math.inf, 3e38])
def test_an_encoder_that_is_not_finite_gets_no_score(weight: float, tiny_task: Task) -> None:
    judge: list[Callable[[Encoder], object]] = [
        lambda encoder: probe(
            encoder=encoder, task=tiny_task, config=ProbeConfig(fractions=(0.3,)), seed=0
        ),
        lambda encoder: finetune_scores(
            encoder=encoder,
            task=tiny_task,
            config=FinetuneConfig(labels=(0.3,), draws=1),
            seeds=1,
            device=torch.device("cpu"),
        ),
    ]
    for judged in judge:
        with pytest.raises(DivergedError, match="features of a convnet are not finite"):
            judged(encoder_with(weight))


def test_a_weight_too_large_for_half_precision_is_not_halved(tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    with pytest.raises(DecoctError, match=r"encoder\.safetensors: a weight is too large for .*16"):
        encoder_with(1e6).save(file, dtype=torch.float16)
    assert not file.exists()


def test_an_expert_too_large_for_half_precision_is_not_kept(
    tiny_images: Images, tiny_targets: Targets, tiny_experts_config: ExpertsConfig, tmp_path: Path
) -> None:
    config = replace(tiny_experts_config, count=1, epochs=1, dtype="float16")
    far = replace(tiny_targets, values=1e7 * tiny_targets.values)
    with pytest.raises(DivergedError, match=r"0 are too large for float16; .*experts\.dtype"):
        train_experts(images=tiny_images, targets=far, folder=tmp_path, config=config)


def a_set(value: float) -> DistilledSet:
    targets = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    targets[3, 2] = value
    return DistilledSet(
        images=torch.rand(30, 3, 8, 8), targets=targets, **COLOUR, rule=TrainingRule(), method="doc"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("code", ["as made", "float16", "int8", "pca", "pq"])
def test_a_set_that_is_not_finite_is_not_coded(code: str, value: float) -> None:
    with pytest.raises(DivergedError, match="set of doc is not finite"):
        compact(a_set(value), CodingConfig(targets=code))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["float16", "pq"])
def test_targets_beyond_half_precision_are_not_coded_in_it(code: str) -> None:
    far = replace(a_set(0.0), targets=1e6 * a_set(0.0).targets)
    with pytest.raises(DecoctError, match=r"too large for .*keep (them|these numbers) as"):
        compact(far, CodingConfig(targets=code))  # type: ignore[arg-type]
