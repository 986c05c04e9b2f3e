"""Whatever happens to a run's folder, a finished run has the bytes of an unbroken one.

A walk of random steps: run, interrupt, kill, edit the recipe, damage a file, leave stray files,
copy the folder, clean, verify. `python benchmarks/fuzz.py machine` walks for longer.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

import decoct.whole_run
from decoct.cli import main
from decoct.core.console import console
from decoct.core.errors import DecoctError
from decoct.flags import Call
from decoct.report.verify import is_whole, verify
from decoct.run.recipe import load_recipe
from decoct.training import loop
from tests.run.kills import contents

RECIPE = """
name: walk
seed: {seed}
size: {size}
method: random
device: cpu
images: {{source: {data}/pool.npz, size: 16, holdout: 0.25}}
targets: {{source: {data}/targets.npy}}
rule: {{batch: 4}}
pretrain: {{epochs: {epochs}, network: {{width: 4, depth: 2}}}}
probe: {{fractions: [0.3], draws: 2}}
compare: {{methods: [random], seeds: 1, tasks: [{data}/blocks.npz]}}
"""
SETTINGS = {"seed": (0, 1), "size": (8, 12), "epochs": (1, 2)}
EVENTS = 60  # calls to the system that change a file, of a run that makes everything
LONG_S = 60.0  # a process that was to kill itself is killed after that
CHANGES = ("replace", "link", "open", "unlink", "mkdir")  # of `os`
Settings = tuple[int, int, int]


class Interrupted(BaseException):
    """As Ctrl-C: what cleans up still runs."""


def save_data(folder: Path) -> None:
    """A pool with targets, and a task of three colours."""
    draws, labels = np.random.default_rng(0), np.arange(60) % 3
    images = draws.integers(0, 256, (60, 4, 4, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    images[..., 1] = 80 * labels[:, None, None]
    np.savez(folder / "pool.npz", images=images)
    np.save(folder / "targets.npy", draws.normal(size=(60, 4)).astype(np.float32))
    parts = {"train": slice(40), "test": slice(40, None)}
    task = {f"{part}_images": images[rows] for part, rows in parts.items()}
    task |= {f"{part}_labels": labels[rows] for part, rows in parts.items()}
    np.savez(folder / "blocks.npz", **task)


@contextlib.contextmanager
def stopped_at(event: int, stop: Callable[[], None]) -> Iterator[None]:
    """Stop before the nth call that changes a file."""
    count = Counter[str]()

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            count["calls"] += 1
            if count["calls"] == event:
                stop()
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


def interrupt() -> None:
    raise Interrupted


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FolderMachine(RuleBasedStateMachine):
    """The folder of a run, and what has been done to it."""

    counts: ClassVar[Counter[str]] = Counter()  # of steps, in all walks
    whole: dict[Settings, dict[str, bytes]]  # of each recipe: what an unbroken run makes
    data: Path

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = Path(tempfile.mkdtemp(prefix="decoct-walk-"))
        self.folder = self.sandbox / "run"
        self.recipe = self.sandbox / "walk.yaml"
        self.dirty = True  # since it was cleaned
        self.damaged: set[str] = set()  # files that may differ until they are needed
        self.edit((0, 8, 1))

    def teardown(self) -> None:
        try:
            self.run()
        finally:
            shutil.rmtree(self.sandbox, ignore_errors=True)

    # Steps

    @rule(values=st.tuples(*map(st.sampled_from, SETTINGS.values())))
    def edit(self, values: Settings) -> None:
        self.values = values
        named = dict(zip(SETTINGS, values, strict=True))
        self.recipe.write_text(RECIPE.format(data=self.data, **named))
        if values not in self.whole:
            fresh = self.sandbox / "fresh"
            assert not said_by_run(self.recipe, fresh)
            self.whole[values] = contents(fresh)
            shutil.rmtree(fresh)
        self.outside = self.others()

    @rule()
    def run(self) -> None:
        self.counts["run"] += 1
        self.dirty = True
        self.finish()
        self.check()

    @rule(event=st.integers(1, EVENTS))
    def interrupt(self, event: int) -> None:
        self.counts["interrupt"] += 1
        self.dirty = True
        with contextlib.suppress(Interrupted), stopped_at(event, interrupt):
            said_by_run(self.recipe, self.folder)

    @rule(event=st.integers(1, EVENTS))
    def kill(self, event: int) -> None:
        self.counts["kill"] += 1
        self.dirty = True
        run_and_kill(self.recipe, self.folder, event)

    @rule(
        which=st.floats(0, 1, exclude_max=True),
        how=st.sampled_from(("flip", "truncate", "delete", "empty", "garbage", "swap")),
        where=st.floats(0, 1, exclude_max=True),
    )
    def damage(self, which: float, how: str, where: float) -> None:
        files = self.files()
        if not files:
            return
        self.counts[f"damage: {how}"] += 1
        name = files[int(which * len(files))]
        file, other = self.folder / name, self.folder / files[int(where * len(files))]
        if how == "swap" and other.name == file.name:  # what a file of its kind holds is a user's
            return
        content = file.read_bytes()
        at = int(where * len(content))
        new = {
            "flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"",
            "truncate": content[:at],
            "empty": b"",
            "garbage": bytes(range(100, 200)),
            "swap": other.read_bytes(),
        }
        if how == "delete":
            file.unlink()
        else:
            same = [n for n in files if (self.folder / n).samefile(file)]  # a link is one file
            file.write_bytes(new[how])
            self.damaged |= set(same)
        self.damaged.add(name)

    @rule(which=st.floats(0, 1, exclude_max=True), old=st.booleans())
    def leave_a_stray_file(self, which: float, old: bool) -> None:
        folders = [path for path in sorted(self.folder.glob("*/")) if path.is_dir()]
        if not folders:
            return
        self.counts["stray file"] += 1
        stray = folders[int(which * len(folders))] / ".encoder.safetensors.99.tmp"
        stray.write_bytes(b"half")
        if old:
            os.utime(stray, (time.time() - 9999,) * 2)

    @rule()
    def copy(self) -> None:
        if not self.folder.is_dir():
            return
        self.counts["copy"] += 1
        target = self.sandbox / ("run" if self.folder.name == "copy" else "copy")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target)
        self.folder = target
        self.outside = self.others()

    @precondition(lambda self: self.dirty)  # twice in a row is nothing new
    @rule()
    def clean(self) -> None:
        self.counts["clean"] += 1
        self.dirty = False
        code, said = command("clean", str(self.folder), "--yes")
        assert code == 0 or re.fullmatch(r"decoct: [^\n]+\n", said), said

    @rule()
    def verify(self) -> None:
        if not self.folder.is_dir():
            return
        self.counts["verify"] += 1
        states = {str(found.path): found.state for found in verify(self.folder)}
        for name, content in self.whole[self.values].items():
            file = self.folder / name
            if "/" in name and file.is_file():  # at the top are the results of the last recipe
                whole = file.read_bytes() == content
                assert (states[str(file)] == "whole") == whole, f"{name} is {states[str(file)]}"

    # What must be true

    def finish(self) -> None:
        """Run until it succeeds; if it refuses, delete what its sentence is about."""
        for _ in range(5):
            said = said_by_run(self.recipe, self.folder)
            if not said:
                return
            self.counts["refusal"] += 1
            assert self.damaged, said
            named = [n for n in self.files() if str(self.folder / n) in said]
            assert named, said
            for name in named:
                (self.folder / name).unlink()
        raise AssertionError(said)

    def check(self) -> None:
        """Everything that was made is right, or is damaged and known to be."""
        for name, content in self.whole[self.values].items():
            file = self.folder / name
            if file.is_file() and file.read_bytes() == content:
                self.damaged.discard(name)
            elif "/" in name and name in self.damaged:
                assert not file.exists() or not is_whole(verify(file)), f"{name} is taken for whole"
            else:
                raise AssertionError(f"{name} {'differs' if file.exists() else 'is missing'}")
        assert self.others() == self.outside, "something outside the folder has changed"

    def files(self) -> list[str]:
        found = (path for path in self.folder.rglob("[!.]*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def others(self) -> dict[str, bytes]:
        """All files but the run's."""
        places = [path for path in self.sandbox.iterdir() if path != self.folder]
        files = [f for place in (self.data, *places) for f in (place, *place.rglob("*"))]
        return {str(file): file.read_bytes() for file in files if file.is_file()}


def said_by_run(recipe: Path, folder: Path) -> str:
    """Run a recipe whole, but for the report; returns why it refused, if it did."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(decoct.whole_run, "write_report", lambda folder: folder)
        patch.setattr(console, "quiet", True)
        patch.setattr(os, "fsync", lambda file: None)  # no power fails here
        patch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
        try:
            decoct.whole_run.whole_run(
                Call(load_recipe(recipe), SimpleNamespace(out=folder, jobs=1))
            )
        except DecoctError as error:
            return str(error)
    return ""


def run_and_kill(recipe: Path, folder: Path, event: int) -> None:
    """Run a recipe in a process that is killed before its nth call that changes a file."""
    with warnings.catch_warnings():  # Python 3.12 warns of threads: here there is one
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        with contextlib.suppress(BaseException), stopped_at(event, kill):
            said_by_run(recipe, folder)
        os._exit(0)
    deadline = time.monotonic() + LONG_S
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def command(*arguments: str) -> tuple[int, str]:
    """The exit status and the errors of a verb."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        return main(arguments), said.getvalue()


def machine(data: Path) -> type[FolderMachine]:
    save_data(data)
    return type("Walk", (FolderMachine,), {"data": data, "whole": {}})


def walks(count: int, steps: int, **more: Any) -> settings:
    checks = list(HealthCheck)
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=checks,
        phases=[Phase.generate],  # to shrink a walk would take minutes
        **more,
    )


def walk(seconds: int) -> dict[str, Any]:
    """Walk at random for a time; returns what was done (for `benchmarks/fuzz.py machine`)."""
    FolderMachine.counts.clear()
    start, found, count = time.monotonic(), "", 0
    with tempfile.TemporaryDirectory() as data:
        kind = machine(Path(data))
        while time.monotonic() < start + seconds and not found:
            try:
                run_state_machine_as_test(kind, settings=walks(5, 30))
            except Exception:  # hypothesis has printed the shortest walk that fails
                found = traceback.format_exc()
            count += 5
    return {
        "tried": FolderMachine.counts.total(),
        "survived": FolderMachine.counts.total() - bool(found),
        "walks": count,
        "steps": dict(FolderMachine.counts),
        "crashes": [found] if found else [],
        "seconds": seconds,
    }


def test_six_short_walks(tmp_path: Path) -> None:
    FolderMachine.counts.clear()
    run_state_machine_as_test(machine(tmp_path), settings=walks(6, 8, derandomize=True))
    assert {"run", "kill", "interrupt", "copy", "clean"} <= set(FolderMachine.counts)
