"""SIGTERM is a request: one line, its exit status, and the same command continues."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoct.run.recipe import Recipe

WAITING = """
import sys, time
import decoct.verbs
from decoct.cli import main
def wait(*arguments):
    print("ready", flush=True)
    time.sleep(60)
decoct.verbs.dispatch = wait
sys.exit(main(["run", "demo"]))
"""


@pytest.mark.parametrize("background", [False, True], ids=["alone", "SIGINT ignored"])
def test_a_sentence_and_143(background: bool) -> None:
    """A script's background job ignores SIGINT; it must be stoppable too."""
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" * background
    with subprocess.Popen(
        [sys.executable, "-c", ignored + WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said == "decoct: terminated; the same command continues from here\n"


def test_a_run_with_workers_ends_them_too(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.set("pretrain.steps", 100_000)  # it is still at it when it is asked
    file, out = tmp_path / "long.yaml", tmp_path / "run"
    file.write_text(recipe.to_yaml())
    command = [sys.executable, "-m", "decoct", "run", str(file), "--out", str(out), "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("encoder-*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)  # waits for all who hold the pipe
    assert process.returncode == 143
    assert "terminated" in said and "Traceback" not in said
