"""Train the embedded teacher by the recipe next to it, on the training split of the embedded emoji.

    python scripts/train_embedded_teacher.py --out FOLDER

writes `teacher.safetensors` (float16), `loss.csv` and `probe.csv` (accuracy by task and label
fraction, of the teacher and of the same network untrained). An interrupted run continues where it
stopped. `--epochs` makes a shorter run.
"""

import argparse
import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import decoct

FOLDER = Path(decoct.__file__).parent / "artefacts" / "embedded_teacher"


def main() -> None:
    """Train, probe, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/embedded-teacher"))
    parser.add_argument("--epochs", type=int, default=0, help="0: as in the recipe")
    parser.add_argument("--probe-only", action="store_true", help="only probe the shipped teacher")
    options = parser.parse_args()
    recipe = decoct.load_recipe(FOLDER / "recipe.yaml")
    options.out.mkdir(parents=True, exist_ok=True)
    teacher = (
        decoct.embedded_teacher()
        if options.probe_only
        else train(recipe, options.out, options.epochs)
    )
    losses = teacher.provenance["losses"]
    write_csv(options.out / "loss.csv", ("epoch", "loss"), enumerate(losses))
    rows = probe(recipe, teacher)
    write_csv(options.out / "probe.csv", ("task", "labels", "teacher", "untrained"), rows)


def train(recipe: decoct.Recipe, out: Path, epochs: int) -> decoct.Encoder:
    """The teacher, saved in float16."""
    config = recipe.teacher.ssl
    teacher = decoct.train_teacher(
        images=decoct.load_images(recipe.images.source, size=recipe.images.size),
        config=replace(config, epochs=epochs or config.epochs),
        seed=recipe.seed,
        state=out / "state.safetensors",
    )
    teacher.save(out / "teacher.safetensors", dtype=torch.float16)
    return decoct.Encoder.load(out / "teacher.safetensors")


def probe(recipe: decoct.Recipe, teacher: decoct.Encoder) -> list[tuple[str, str, float, float]]:
    """Accuracy by task and labels, in per cent, of the teacher and of its network untrained."""
    untrained = decoct.fresh_encoder(
        teacher.config, mean=teacher.mean, std=teacher.std, size=teacher.size, seed=recipe.seed
    )
    rows = []
    for source in recipe.compare.tasks:
        task = decoct.load_task(source, size=recipe.images.size)
        found = [
            decoct.probe(encoder=e, task=task, config=recipe.probe) for e in (teacher, untrained)
        ]
        for labels in dict.fromkeys(score.labels for score in found[0]):
            means = [
                np.mean([s.accuracy for s in scores if s.labels == labels]) for scores in found
            ]
            rows.append((task.name, labels, round(float(means[0]), 1), round(float(means[1]), 1)))
    return rows


def write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """A header and rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    main()
