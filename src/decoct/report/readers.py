"""How each kind of file is read whole: by its own loader, which refuses what makes no sense."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import read_expert
from decoct.core import storage
from decoct.core.forms import check_forms, read_json, typed, understood
from decoct.data.images import Images
from decoct.evaluation.finetune import read_finetuned
from decoct.evaluation.label_free import LabelFreeScores
from decoct.evaluation.scores import Scores
from decoct.run.expert_stages import read_difficulty
from decoct.run.manifest import read_manifest
from decoct.run.method_stages import read_probe
from decoct.run.seconds import read_seconds
from decoct.studies.ablation import Ablation
from decoct.studies.fit import Fit
from decoct.studies.frontier.cells import Frontier
from decoct.studies.held_out import read_error
from decoct.studies.tune import Tuning
from decoct.studies.variance.findings import Findings, Variance


def read_plan(file: Path) -> dict[str, str]:
    """What `decoct distill` began with: `folder`, and `wanted`, a digest of what was asked for."""
    plan: dict[str, str] = read_json(file, dict[str, str], of="plan")
    with understood(file):
        return {name: plan[name] for name in ("folder", "wanted")}


def _read_features(file: Path) -> None:
    """Features of a part of the pictures that `decoct embed` was given."""
    with understood(file):
        tensors, meta = storage.load_tensors(file, kind="features")
        check_forms(tensors, {"features?": "float N F"})
        names = typed(meta["names"], list[str])
        typed(meta["unreadable"], dict[str, str])
        if tensors and len(names) != len(tensors["features"]):
            raise ValueError(f"{len(names)} names for {len(tensors['features'])} pictures")


READERS: dict[str, Callable[[Path], object]] = {
    "images": Images.load,
    "encoder": Encoder.load,
    "assistant": Assistant.load,
    "targets": Targets.load,
    "expert": read_expert,
    "difficulty": read_difficulty,
    "distilled": DistilledSet.load,
    "features": _read_features,
    "checkpoint": partial(storage.load_tensors, kind="checkpoint"),
    "scores": Scores.load,
    "probe": read_probe,
    "label-free": LabelFreeScores.load,
    "finetuned": read_finetuned,
    "target-probe": read_error,
    "pool-error": partial(read_error, kind="pool-error"),  # its name in version 1
    "ablation": Ablation.load,
    "variance": Variance.load,
    "findings": Findings.load,
    "fit": Fit.load,
    "frontier": Frontier.load,
    "tuning": Tuning.load,
    "plan": read_plan,
    "run": read_manifest,
    "seconds": read_seconds,
}
