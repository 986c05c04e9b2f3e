"""The real loggers, offline: what they wrote is read back with their own readers."""

import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decoct.cli import main
from decoct.evaluation.scores import Score, Scores
from decoct.report.logs import follow
from decoct.run.recipe import Recipe, load_recipe

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours


def of_tensorboard(folder: Path) -> tuple[dict[str, list[float]], set[str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    return {t: [e.value for e in events.Scalars(t)] for t in tags["scalars"]}, set(tags["images"])


def of_mlflow(folder: Path) -> tuple[dict[str, list[float]], set[str]]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=folder.resolve().as_uri())
    experiment = client.get_experiment_by_name("decoct")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    found = {
        key: [m.value for m in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }
    pictures = {item.path for item in client.list_artifacts(run.info.run_id)} - {"recipe.yaml"}
    return found, {picture.removesuffix(".png") for picture in pictures}


def of_wandb(folder: Path) -> tuple[dict[str, list[float]], set[str]]:
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, list[float]] = {}
    pictures: set[str] = set()
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in records(path.read_bytes()):
            for item in Record.FromString(data).history.item:
                key = item.key or "/".join(item.nested_key)
                value: Any = json.loads(item.value_json)
                if key.endswith("/_type"):
                    pictures.add(key.removesuffix("/_type"))
                elif isinstance(value, dict):
                    pictures.add(key)
                elif isinstance(value, int | float):
                    found.setdefault(key, []).append(value)
    return found, pictures


def records(content: bytes) -> Iterator[bytes]:
    """What a `.wandb` file holds: LevelDB's log of records, in blocks of 32 KiB, after 7 bytes."""
    block, place, begun = 2**15, 7, b""
    while place + 7 <= len(content):
        if block - place % block < 7:  # no header fits in the rest of a block
            place += block - place % block
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        begun += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole record, or its last part
            yield begun
            begun = b""


def test_a_run_is_followed_by_all_three(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    readers = {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "wandb": of_wandb}
    loggers = [word for name in readers for word in ("--log", name)]
    flags = ["--method", "mkdt", "--mkdt.init", "random", *loggers]
    assert main(["stage", "distill", str(tmp_path / "mine.yaml"), "--out", str(run), *flags]) == 0
    recipe = load_recipe(run / "recipe.yaml")
    scores = Scores(tuple(Score("mkdt", seed, "stripes", "30%", 0, 40.0) for seed in (0, 1)))
    with follow.logged(recipe, run, ("tensorboard", "mlflow", "wandb")):
        scores.save(run / "scores.json")  # a later command tells only what is new
    (lines,) = run.glob("mkdt-seed0-*/metrics.jsonl")
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(written) == 2
    for name, read in readers.items():
        numbers, pictures = read(run / "logs" / name)
        for value in ("loss", "lr"):
            expected = pytest.approx([line[value] for line in written], rel=1e-6)
            assert numbers[f"mkdt-seed0/{value}"] == expected, name
        assert numbers["accuracy/mkdt/30 percent"] == [40.0], name
        assert pictures == {"mkdt-seed0", "random-seed0"}, name


class _Listens:
    identity = ""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, dict[str, float]]] = []

    def scalars(self, stage: str, step: int, values: dict[str, float], *, time: float) -> None:
        self.heard.append((stage, step, values))

    def close(self) -> None:
        raise OSError("the disk is gone")


def test_lines_of_other_processes_are_read_once_and_whole(
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listens = _Listens()
    monkeypatch.setattr(follow, "open_logger", lambda name, start: listens)
    monkeypatch.setattr(follow, "_EVERY_S", 0.01)
    stage = tmp_path / "run/assistant-0123456789abcdef"
    with follow.logged(tiny_recipe, tmp_path / "run", ("wandb",)):
        stage.mkdir()
        (stage / "seconds.json").write_text("{}")
        (stage / "metrics.jsonl").write_text('{"epoch": 0, "loss": 2.5}\n{"epoch": 1, "lo')
        os.utime(stage, (0, 0))  # a file system may have another clock
        end = time.monotonic() + 60
        while not listens.heard:
            assert time.monotonic() < end
            time.sleep(0.001)
        with (stage / "metrics.jsonl").open("a") as file:
            file.write('ss": 1.5}\n')
    assert listens.heard == [("assistant", 0, {"loss": 2.5}), ("assistant", 1, {"loss": 1.5})]
    assert "--log wandb has stopped: the disk is gone" in capsys.readouterr().err
