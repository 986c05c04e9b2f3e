"""A request to stop: one line, its exit status, and the same command continues."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoct.run.recipe import Recipe

# A verb that waits, and, asked to stop, is not ready at once; without torch it starts at once.
WAITING = """
import os, signal, sys, time, types
# whatever the tests' own shell ignores
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
for name in {ignored}:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
from decoct.cli import main
class Finaliser:
    def __del__(self):  # where Python ignores exceptions
        print("ready", flush=True)
        time.sleep(60)
def wait(*arguments):
    try:
        if {finaliser}:
            Finaliser()
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep({tidying})
verbs = types.ModuleType("decoct.verbs")
verbs.dispatch = wait
sys.modules["decoct.verbs"] = verbs
sys.exit(main(["run", "demo"]))
"""
CONTINUES = "the same command continues from here\n"


def script(ignored: str = "", *, tidying: float = 0, finaliser: bool = False) -> list[str]:
    values = {"ignored": ignored.split(), "tidying": tidying, "finaliser": finaliser}
    return [sys.executable, "-c", WAITING.format(**values)]


@pytest.mark.parametrize(
    "ignored, first, status, word, lost",
    [
        ("", "SIGINT", 130, "interrupted", False),
        ("", "SIGTERM", 143, "terminated", False),
        ("", "SIGTERM", 143, "terminated", True),  # and must not be
        ("", "SIGHUP", 129, "its terminal was closed", False),
        ("SIGINT", "SIGTERM", 143, "terminated", False),  # in the background of a script
        ("SIGINT", "SIGINT SIGTERM", 143, "terminated", False),
        ("SIGHUP", "SIGHUP SIGTERM", 143, "terminated", False),  # under nohup
    ],
)
def test_a_sentence_and_a_status(
    ignored: str, first: str, status: int, word: str, lost: bool
) -> None:
    with subprocess.Popen(
        script(ignored, finaliser=lost), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for name in first.split():
            process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (status, f"decoct: {word}; {CONTINUES}")


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_request_ends_it_at_once(name: str, status: int) -> None:
    with subprocess.Popen(
        script(tidying=60), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for said in ("ready\n", "tidying\n"):
            assert process.stdout.readline() == said
            process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (status, f"decoct: ended at once; {CONTINUES}")


def test_a_terminal_that_is_closed() -> None:
    """Nobody can read the sentence, and it must not matter."""
    process, terminal = pty.fork()
    if process == 0:
        command = script()
        os.execv(command[0], command)
    assert os.read(terminal, 100).startswith(b"ready")
    os.close(terminal)  # now the system sends SIGHUP, unless a fork of another test has it open
    ended, status, patience = 0, 0, time.monotonic() + 5
    while not ended and time.monotonic() < patience:
        ended, status = os.waitpid(process, os.WNOHANG)
        time.sleep(0.05)
    if not ended:
        os.kill(process, signal.SIGHUP)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129


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
