"""`--devices N`: real processes of the same command, and what is said when one of them ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from decoct import launch
from decoct.cli import main
from decoct.core.errors import DecoctError, Terminated
from decoct.launch import check_devices
from decoct.launched import is_silent, launcher
from decoct.run.recipe import Recipe
from tests.run.kills import contents

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "gpus, device, count, said",
    [
        (0, "cpu", 3, "--devices 3: this machine has 2 CPU cores; use --devices 2"),
        (1, "cuda", 2, "--devices 2: this machine has 1 GPU; use no --devices"),
        (4, "cuda:1", 2, "device is cuda:1, but --devices 2 takes that many GPUs; use"),
        (4, "cuda", 4, ""),
        (0, "cpu", 2, ""),
    ],
)
def test_more_devices_than_there_are(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str, count: int, said: str
) -> None:
    monkeypatch.setattr(launch, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if not said:
        check_devices(device, count)
        return
    with pytest.raises(DecoctError) as refused:
        check_devices(device, count)
    assert str(refused.value).startswith(said)


def failure(status: int, second: int = 0) -> ProcessFailure:
    found = ProcessFailure(local_rank=0, pid=1, exitcode=status, error_file="/none")
    found.timestamp = second
    return found


@pytest.mark.parametrize(
    "failures, ends",
    [
        ({0: failure(2), 1: failure(-9)}, DecoctError),
        ({0: failure(2), 1: failure(143, 1)}, SystemExit),
        ({0: failure(2), 1: failure(-15)}, SystemExit),  # in the same second
        ({0: failure(2), 1: failure(-9, 30)}, SystemExit),  # it was slow to end, and was killed
        ({0: failure(143), 1: failure(-15, 1)}, Terminated),
        ({0: failure(130), 1: failure(130)}, KeyboardInterrupt),
    ],
)
def test_it_ends_as_the_first_process_that_failed(
    failures: dict[int, ProcessFailure], ends: type[BaseException]
) -> None:
    with pytest.raises(ends) as ended:
        launch._end_as(failures)
    if ends is DecoctError:
        assert str(ended.value).startswith("rank 1 was ended by SIGKILL, perhaps for lack of")
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 2


@pytest.mark.parametrize("words", [["tune", "demo", "--devices", "2"], ["embed", "--devices=2"]])
def test_verbs_of_one_process_say_so(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"decoct: decoct {words[0]} works in one process")


def test_two_ways_to_divide_are_one_too_many(capsys: Capture) -> None:
    assert main(["run", "demo", "--devices", "2", "--jobs", "2"]) == 2
    assert "--devices and --jobs both divide the work" in capsys.readouterr().err


def test_started_by_others(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["fit", "demo"]) == 2
    assert "decoct fit works in one process" in capsys.readouterr().err
    assert is_silent() and launcher() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "decoct-12")
    assert launcher() == 12


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def children(process: subprocess.Popen[str]) -> list[int]:
    pid = process.pid
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_killed_rank_is_a_sentence_and_one_process_continues(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    command = ["stage", "train-experts", str(tmp_path / "mine.yaml"), "--out"]
    run, log = tmp_path / "killed", tmp_path / "log"
    with (
        log.open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", "decoct", *command, str(run), "--devices", "2"],
            stdout=said,
            stderr=said,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        until(lambda: "stage 1 of" in log.read_text() or process.poll() is not None)
        ranks = children(process)
        assert len(ranks) == 2, log.read_text()
        os.kill(ranks[1], signal.SIGKILL)
        assert process.wait(120) == 2
    last = log.read_text().splitlines()[-1]
    assert last.startswith("decoct: rank 1 was ended by SIGKILL") and "continues" in last
    assert "Traceback" not in log.read_text() and log.read_text().count("decoct: ") == 1
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert main([*command, str(run)]) == main([*command, str(tmp_path / "whole")]) == 0
    assert contents(run) == contents(tmp_path / "whole")
