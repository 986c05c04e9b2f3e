"""`decoct submit`: what SLURM is told, and what a job does when it is to end.

There is no SLURM here. `sbatch` only keeps what it gets; the test runs that, as a node would.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.flags import Call
from decoct.job import JobFlags
from decoct.run.recipe import load_recipe
from decoct.submit import Submission
from tests.faults.tiny import write_tiny

SBATCH = '#!/bin/sh\nn=$(($(ls {bin} | grep -c job) + 1))\ncp "$1" {bin}/job$n\n'
SBATCH += "echo Submitted batch job $n\n"
# Every task of a step, each with its own log; options come before the program.
SRUN = """#!{python}
import os, subprocess, sys
program = sys.argv.index({python!r})
log = sys.argv[sys.argv.index("--output") + 1].replace("%j", os.environ["SLURM_JOB_ID"])
tasks = [
    subprocess.Popen(
        sys.argv[program:],
        env=os.environ | {{"SLURM_PROCID": str(k), "SLURM_LOCALID": str(k)}},
        stdout=open(log.replace("%t", str(k)), "a"),
        stderr=subprocess.STDOUT,
    )
    for k in range(int(os.environ["SLURM_NTASKS"]))
]
sys.exit(max(abs(task.wait()) for task in tasks))
"""
SCONTROL = '#!/bin/sh\necho "$@" >> {bin}/requeued\n'
# What stands for all of decoct's verbs in a job: it waits to be ended; the second time it is done.
VERBS = """
import os, sys, threading, time, types
from pathlib import Path
# As libraries have them: the system may give any thread a signal that the first one blocks.
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
def dispatch(verb, arguments):
    out = Path(arguments[arguments.index("--out") + 1])
    rank = os.environ.get("RANK", "0")
    if (out / "kept").exists():
        (out / f"done-{rank}").write_text(" ".join([verb, *arguments]))
        return
    known = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")}
    (out / f"begun-{rank}").write_text(f"{os.getpid()} {known}")
    try:
        while rank == "0" or not (out / "kept").exists():
            time.sleep(0.01)
    finally:
        (out / "kept").touch()
    raise RuntimeError("the connection was closed by rank 0")
verbs = types.ModuleType("decoct.verbs")
verbs.dispatch = dispatch
sys.modules["decoct.verbs"] = verbs
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny one, in the working directory, where jobs run without torch."""
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub/sitecustomize.py").write_text(VERBS)
    source = Path(sys.modules["decoct"].__path__[0]).parent
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'stub'}:{source}")
    monkeypatch.chdir(tmp_path)
    return write_tiny(tmp_path, methods="[mkdt]")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of commands that stand for SLURM's, and keep what they get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text.format(bin=folder, python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def wait_for(there: Callable[[], Any]) -> None:
    for _ in range(3000):
        if there():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come")


def process(file: Path) -> int:
    wait_for(lambda: file.exists() and file.read_text())
    return int(file.read_text().split()[0])


def submission(file: Path, recipe: dict[str, Any], **flags: Any) -> Submission:
    changed = load_recipe(file)
    for setting, value in recipe.items():
        changed = changed.set(setting, value)
    out = SimpleNamespace(out=flags.pop("out", file.parent / "run"))
    return Submission(JobFlags(**flags), Call(changed, out), words=[str(file)])


def test_what_sbatch_is_told(
    recipe: Path, slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--nodes 4 --gpus-per-node 8 --cpus-per-task 6 --time 12:00:00 --partition fast"
    words += " --sbatch constraint=a100 --sbatch exclusive --experts.count 5 --seed 3 --array 3"
    assert main(["submit", "mine.yaml", *words.split(), "--out", "run"]) == 0
    said = capsys.readouterr().out
    out = tmp_path / "run"
    assert (
        "job 1,2,3: 4 machines, 8 processes on each; the experts in 3 more, at most 12:00:00"
        in said
    )
    assert "squeue -j 1,2,3\n" in said and "scancel 1 2 3 " in said
    assert f"tail -F {out}/slurm/1_0_log.out {out}/slurm/2_0_0_log.out" in said
    assert f"decoct run {recipe} --experts.count 5 --seed 3 --out {out}\n" in said
    first, experts, last = ((slurm / f"job{n}").read_text() for n in (1, 2, 3))
    for line in ("nodes=4", "ntasks-per-node=8", "time=720", "partition=fast", "signal=USR2@90"):
        assert f"#SBATCH --{line}\n" in first and f"#SBATCH --{line}\n" in last
    assert all(f"#SBATCH --{line}\n" in first for line in ("requeue", "exclusive"))
    assert "--kill-on-bad-exit=1 --cpus-per-task=6" in first and "--dependency" not in first
    for line in ("array=0-2%3", "nodes=1", "ntasks-per-node=1", "gpus-per-node=1"):
        assert f"#SBATCH --{line}\n" in experts
    assert "--dependency=afterok:1\n" in experts and "--dependency=afterok:1,afterany:2\n" in last


def test_a_job_of_slurm_is_queued_again_and_goes_on(
    recipe: Path, slurm: Path, tmp_path: Path
) -> None:
    submission(recipe, {}, nodes=2, time="1h").make()
    run = tmp_path / "run"
    place = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_NUM_NODES": "2"}
    job = ["bash", str(slurm / "job1")]
    node = subprocess.Popen(job, env=os.environ | place | {"SLURM_JOB_NODELIST": "localhost"})
    tasks = [process(run / f"begun-{rank}") for rank in range(2)]
    begun = [(run / f"begun-{rank}").read_text() for rank in range(2)]
    assert [re.search("'RANK': '(.)', 'WORLD_SIZE': '2'", text)[1] for text in begun] == ["0", "1"]
    assert len({text.partition("MASTER_PORT")[2] for text in begun}) == 1
    for task in reversed(tasks):  # as SLURM does before it preempts a job
        os.kill(task, signal.SIGTERM)
    wait_for(lambda: "completed" in (run / "slurm/1_1_log.out").read_text())
    assert (run / "kept").exists() and node.poll() is None  # the first stays
    assert not (slurm / "requeued").exists()
    os.kill(tasks[0], signal.SIGUSR2)
    assert node.wait(20) != 0
    assert (slurm / "requeued").read_text() == "requeue 1\n"
    assert "Traceback" not in (run / "slurm/1_1_log.out").read_text()
    assert subprocess.run(job, env=os.environ | place).returncode == 0
    for rank in range(2):
        done = (run / f"done-{rank}").read_text()
        assert done == f"run {recipe} --out {run}"


def test_a_job_of_this_machine_is_begun_again_too(recipe: Path, tmp_path: Path) -> None:
    job = submission(recipe, {}, local=True)
    job.make()
    assert ": 1 machine, 1 process, at most 24:00:00\n" in job.text()
    run = tmp_path / "run"
    os.kill(process(run / "begun-0"), signal.SIGUSR1)
    wait_for(job.jobs[0].done)
    assert (run / "done-0").exists()


@pytest.mark.parametrize(
    "flags, settings, why",
    [
        ({"local": False}, {}, "no SLURM here .* run this where jobs are submitted, or give --loc"),
        ({"nodes": 2}, {}, "--local runs on this machine alone; leave out --nodes"),
        ({"time": "noon"}, {}, "--time 'noon' is no time limit; write 12:00:00"),
        ({"time": "1:00"}, {}, "--time '1:00' is no time limit"),
        ({"time": "0:01:00"}, {}, "--time 0:01:00 is too short for a job; give at least 5min"),
        ({"sbatch": ("=a100",)}, {}, "--sbatch '=a100' is no option"),
        ({"sbatch": ("chdir=/",)}, {}, "--sbatch chdir=/: decoct sets chdir itself"),
        ({}, {"device": "cuda"}, "the device is cuda, so the job needs --gpus-per-node"),
        ({"out": Path("a%b")}, {}, "a%b has % in its name; choose another folder with --out"),
        ({"array": 2}, {}, "--array 2, but there are 1 experts; give at most 1"),
        ({"array": 1}, {"compare.methods": ("views",), "method": "views"}, "trains none; leave it"),
        ({}, {"size": 41}, "a distilled set of 41 images cannot be made from 30"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_submitted(
    flags: dict[str, Any], settings: dict[str, Any], why: str, recipe: Path
) -> None:
    with pytest.raises(DecoctError, match=why):
        submission(recipe, settings, **{"local": True} | flags).check()
    assert not list(recipe.parent.rglob("slurm"))


def test_a_folder_of_one_machine_is_noted(
    recipe: Path, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission(recipe, {}, out=Path("/tmp/decoct-run")).check_slurm()
    assert "other machines may not see /tmp/decoct-run" in capsys.readouterr().err


def test_what_slurm_refuses(recipe: Path, slurm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
    with pytest.raises(DecoctError, match=r"sbatch refuses the job \(invalid partition\); change"):
        submission(recipe, {}, partition="gone").make()
    assert capfd.readouterr().err == ""


def test_submitit_is_not_installed(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit.helpers", None)
    with pytest.raises(DecoctError, match=r"run: pip install 'decoct\[slurm\]'"):
        submission(recipe, {}, local=True).check()
