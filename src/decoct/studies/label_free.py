"""Judge a run's methods without labels, on the images that it holds out."""

from dataclasses import asdict
from typing import Any

from decoct.core import storage
from decoct.run.pipeline import Run


def judge_without_labels(run: Run) -> list[dict[str, Any]]:
    """The label-free scores of the recipe's methods by seed; also writes `label_free.json`.

    Scores that are already in the run's folder are reused.
    """
    rows = [
        {"method": method, "seed": seed, **asdict(run.label_free(method, seed))}
        for method in run.graph.methods
        for seed in run.graph.seeds
    ]
    content = {"rows": rows, "left_out": len(run.split[1])}
    storage.save_json(run.folder / "label_free.json", content, kind="label-free")
    return rows
