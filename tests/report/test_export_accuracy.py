"""What storing bytes costs in accuracy, measured on the set that the demo distilled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.data.images import normalise
from decoct.data.tasks import load_task
from decoct.evaluation.probe import ProbeConfig, probe
from decoct.models.registry import NetworkConfig
from decoct.report.export import export
from decoct.training.pretrain import PretrainConfig, pretrain

DEMO = Path(__file__).parent / "files" / "demo-mkdt.safetensors"
SEEDS = range(2)


def accuracy(distilled: DistilledSet) -> list[float]:
    """By seed: the demo's pre-training, probed on the emoji's groups at 5 % of the labels."""
    config = PretrainConfig(network=NetworkConfig(width=16), epochs=40)
    task, found = load_task("emoji"), []
    for seed in SEEDS:
        encoder = pretrain(distilled=distilled, config=config, seed=seed)
        scores = probe(
            encoder=encoder, task=task, config=ProbeConfig(fractions=(0.05,), draws=3), seed=seed
        )
        found.append(float(np.mean([score.accuracy for score in scores])))
    return found


def from_pictures(folder: Path, distilled: DistilledSet) -> DistilledSet:
    """The set, its images read back from PNG."""
    from dataclasses import replace

    files = sorted(folder.glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    images = normalise(torch.from_numpy(pixels.copy()), distilled.mean, distilled.std)
    return replace(distilled, images=images)


@pytest.mark.timeout(300)
def test_what_bytes_and_pictures_cost(tmp_path, capsys):
    as_learnt = load_distilled(DEMO)
    as_bytes = load_distilled(export(DEMO, out=tmp_path / "bytes.safetensors", uint8=True))
    as_pictures = from_pictures(export(DEMO, out=tmp_path / "pictures"), as_learnt)
    learnt, cost = accuracy(as_learnt), {}
    for name, variant in (("uint8", as_bytes), ("PNG", as_pictures)):
        cost[name] = np.subtract(accuracy(variant), learnt)
    with capsys.disabled():
        print(f"\ndemo set, {np.mean(learnt):.1f} % as learnt;", end=" ")
        print(", ".join(f"{name} {c.mean():+.2f} points" for name, c in cost.items()))
    # 256 steps over a channel's range are far below what training notices.
    assert abs(cost["uint8"].mean()) < 1.0
    # Pictures also clip what was learnt beyond black and white.
    assert abs(cost["PNG"].mean()) < 3.0
