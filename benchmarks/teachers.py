"""Which objective and optimiser make the best small teacher in the same time, without labels.

python benchmarks/teachers.py POOL --targets FILE.npy --out FOLDER [--seconds 330] [--seeds 1]
    [--trials "barlow twins, Muon" ...]

Every trial gets as many steps as take `--seconds` on this machine, of which a few are timed first,
or `--steps` steps. It learns from nine tenths of the pool; the rest judges it: RankMe, and how
well its features predict a stronger teacher's (`--targets`), whose neighbours are compared, too.
Trials that FOLDER has are not repeated, and an interrupted one goes on.
"""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks.common import machine, table
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import TargetsConfig, compute_targets
from decoct.core import storage
from decoct.core.console import note
from decoct.core.seeding import random_subset
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.evaluation.label_free import LabelFree, label_free_scores
from decoct.models.registry import NetworkConfig
from decoct.training.teacher import SSLConfig, train_teacher

_BASE = SSLConfig(
    network=NetworkConfig(name="resnet10", width=16), batch=256, projector=512, warm_up=0
)
_MUON = replace(_BASE, optimiser="muon", lr=0.05)
TRIALS = {
    "barlow twins, Adam": replace(_BASE, lr=1e-3),
    "barlow twins, Adam x 3": replace(_BASE, lr=3e-3),
    "barlow twins, Muon": _MUON,
    "simclr, Muon": replace(_MUON, algorithm="simclr"),
    "vicreg, Muon": replace(_MUON, algorithm="vicreg"),
    "spectral contrastive, Muon": replace(_MUON, algorithm="spectral_contrastive"),
    "barlow twins, Muon x 0.4": replace(_MUON, lr=0.02),
    "barlow twins, Muon x 2": replace(_MUON, lr=0.1),
}
_TIMED = 5  # steps


def main() -> None:
    """Train all teachers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("--targets", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--steps", type=int, default=0, help="the same for all, in place of time")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    flags = parser.parse_args()
    images = load_images(flags.pool)
    left_out = random_subset(total=len(images), count=len(images) // 10, seed=0)
    known = torch.ones(len(images), dtype=torch.bool)
    known[left_out] = False
    learnt_from = images.subset(known.nonzero().flatten())
    targets = compute_targets(images=images, config=TargetsConfig(source=flags.targets))
    rows = []
    for name in flags.trials:
        config = TRIALS[name]
        for seed in range(flags.seeds):
            encoder = _trained(name, config, learnt_from, seed, flags)
            found = label_free_scores(
                encoder=encoder,
                images=images,
                targets=targets,
                known=known.nonzero().flatten(),
                left_out=left_out,
            )
            note(f"{name}, seed {seed}: {found}")
            rows.append(_row(name, seed, encoder, found))
    print(machine(torch.device("cpu")))
    print(table(("teacher", "seed", "steps", "error", "RankMe", "agreement"), rows))


def _trained(
    name: str, config: SSLConfig, images: Images, seed: int, flags: argparse.Namespace
) -> Encoder:
    folder = flags.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    file, plan = folder / "teacher.safetensors", folder / "steps.json"
    if file.exists():
        return Encoder.load(file)
    if not plan.exists():
        steps = flags.steps or int(flags.seconds / _seconds_a_step(config, images))
        storage.save_json(plan, {"steps": steps}, kind="steps")
    steps = storage.load_json(plan, kind="steps")["steps"]
    encoder = train_teacher(
        images=images,
        config=replace(config, steps=steps),
        seed=seed,
        state=folder / "state.safetensors",
    )
    encoder.save(file)
    return encoder


def _seconds_a_step(config: SSLConfig, images: Images) -> float:
    train_teacher(images=images, config=replace(config, steps=1))  # warm up
    start = time.perf_counter()
    train_teacher(images=images, config=replace(config, steps=_TIMED))
    return (time.perf_counter() - start) / _TIMED


def _row(name: str, seed: int, encoder: Encoder, found: LabelFree) -> tuple[object, ...]:
    numbers = asdict(found)
    steps = encoder.provenance["config"]["steps"]
    return (
        name,
        seed,
        steps,
        f"{numbers['error']:.3f}",
        f"{numbers['rankme']:.1f}",
        f"{numbers['agreement']:.3f}",
    )


if __name__ == "__main__":
    main()
