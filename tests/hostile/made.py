"""A small file of each kind, and ways to write what decoct would not."""

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.codes import float16, procedural, webp
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets
from decoct.core import checkpoint, storage
from decoct.data.images import Images
from decoct.evaluation.label_free import LabelFreeRow, LabelFreeScores
from decoct.evaluation.scores import Score, Scores
from decoct.models.registry import NetworkConfig, create_network
from decoct.studies.ablation import Ablation, Outcome
from decoct.studies.fit import Candidate, Fit
from decoct.studies.frontier.cells import Cell, Frontier
from decoct.studies.tune import Trial, Tuning

NETWORK = NetworkConfig(width=2, depth=1)
MEAN, STD = torch.full((3,), 0.5), torch.full((3,), 0.25)
SCORE = Score("mkdt", 0, "emoji", "5%", 0, 40.0)


def encoder() -> Encoder:
    network = create_network(NETWORK, channels=3, size=8, outputs=1)
    network.remove_head()
    provenance = {"config": {"algorithm": "barlow"}, "losses": [1.0], "images": "tiny", "seed": 0}
    return Encoder(network, NETWORK, 8, MEAN, STD, provenance)


def assistant() -> Assistant:
    network = create_network(NETWORK, channels=3, size=8, outputs=4)
    return Assistant(network, NETWORK, 8, MEAN, STD, 4, {"losses": [1.0]}).compact("int8")


def images() -> Images:
    pixels = torch.arange(5 * 3 * 64).view(5, 3, 8, 8).to(torch.uint8)
    return Images.from_array(pixels, labels=[0, 1, 0, 1, 0], class_names=["a", "b"])


def plain_set() -> DistilledSet:
    """Learnt images, kept as bytes, with what they began from."""
    pictures = images().normalised()[:3]
    return DistilledSet(
        images=pictures * 1.5,
        targets=torch.randn(3, 4),
        mean=MEAN,
        std=STD,
        rule=TrainingRule(),
        method="mkdt",
        initial=pictures,
        index=torch.arange(3),
        network=NETWORK,
        history={"loss": torch.tensor([2.0, 1.0])},
        provenance={"seed": 0, "matching": {"iterations": 2}},
    )


def coded_set() -> DistilledSet:
    return plain_set().in_code(targets=float16(torch.randn(3, 4)), images=webp(images().pixels[:3]))


def set_of_noise() -> DistilledSet:
    """Pictures from a seed, with a labeller."""
    empty = replace(plain_set(), targets=torch.zeros(3, 0), initial=None, index=None)
    seeded = procedural("blobs", shape=(3, 3, 8, 8), seed=0)
    return replace(empty, labeller=assistant()).in_code(images=seeded)


def write_all(folder: Path) -> dict[str, Path]:
    """A file of each kind, by the name of what it is."""
    found = {
        name: folder / name / f"{name}.safetensors"
        for name in ["images", "encoder", "assistant", "targets", "plain", "coded", "noise"]
    }
    images().save(found["images"])
    encoder().save(found["encoder"])
    assistant().save(found["assistant"])
    one = torch.ones(4)
    Targets(torch.randn(5, 4), torch.zeros(6), torch.randn(6, 4), one).save(found["targets"])
    plain_set().save(found["plain"], uint8=True)
    coded_set().save(found["coded"])
    set_of_noise().save(found["noise"])
    for name, tensors, meta in (
        (
            "expert",
            {"parameters": torch.randn(3, 9), "losses": torch.ones(2)},
            {"config": {"network": {"width": 2}}, "seed": 0, "expert": 0},
        ),
        ("difficulty", {"difficulty": torch.ones(5)}, {}),
        ("features", {"features": torch.ones(1, 3)}, {"names": ["a.png"], "unreadable": {}}),
    ):
        found[name] = folder / name / f"{name}.safetensors"
        storage.save_tensors(found[name], tensors, kind=name, meta=meta)
    found["checkpoint"] = folder / "checkpoint" / "state.safetensors"
    checkpoint.save(found["checkpoint"], {"network.a": torch.ones(2)}, meta={"losses": [1.0]})
    return found | _write_json(folder)


def _write_json(folder: Path) -> dict[str, Path]:
    kinds = "scores label-free ablation fit frontier tuning probe finetuned target-probe plan"
    found = {name: folder / name / f"{name}.json" for name in f"{kinds} run seconds".split()}
    Scores((SCORE,), {"mkdt": {"bytes": 3}}).save(found["scores"])
    rows = (LabelFreeRow(error=0.1, rankme=2.0, agreement=0.5, method="mkdt", seed=0),)
    LabelFreeScores(rows, left_out=9).save(found["label-free"])
    outcome = Outcome("size", "9", True, (SCORE,), (2.0, 1.0), 3.0)
    Ablation("mine", (outcome,), {"size": "images"}).save(found["ablation"])
    candidate = Candidate("convnet", 2, "int8", 50, 0.25, 9, 250, 0.5)
    Fit("1kB", "carried", (candidate,)).save(found["fit"])
    cell = Cell("mkdt", "convnet", "steps", "9", "sgd", 1.0, 9, 9, 0.5, True, 4, (SCORE,), ("a",))
    Frontier("mine", (cell,), {"a": None}).save(found["frontier"])
    Tuning((Trial("mkdt", 1.0, 9, 0.5),)).save(found["tuning"])
    score = {"task": "emoji", "labels": "5%", "draw": 0, "accuracy": 40.0, "by_class": {"a": 1.0}}
    contents: dict[str, dict[str, Any]] = {
        "probe": {"scores": [score]},
        "finetuned": {"accuracy": 51.0},
        "target-probe": {"error": None},
        "plan": {"folder": "/photos", "wanted": "0"},
        "run": {"stages": {"images": "images-0"}, "seconds": {"images": 1.0}, "torch": "2"},
        "seconds": {"seconds": 1.0},
    }
    for name, content in contents.items():
        storage.save_json(found[name], content, kind=name)
    return found


def rewrite(path: Path, tensors: Mapping[str, Tensor], meta: Any, kind: str) -> None:
    """Write a file of ours with a right digest, whatever is in it."""
    with patch.object(storage, "_check_finite"):
        storage.save_tensors(path, tensors, kind=kind, meta=meta)


def raw(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> None:
    """Write a safetensors file byte by byte; `length` is what it says of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    said = struct.pack("<Q", len(text) if length is None else length)
    path.write_bytes(said + text + data)
