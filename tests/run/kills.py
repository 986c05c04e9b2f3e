"""Runs that are killed at random moments and go on; in the end their bytes are compared.

Each is `decoct compare` in a process of its own, forked from one that has run it before: to import
everything would take longer than the run. Call it in a process of one thread.
"""

import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import StringIO
from multiprocessing.context import ForkProcess
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from decoct import cli, flags, verbs
from decoct.core import claims
from decoct.flags import Call
from decoct.methods import k_means
from decoct.run import workers
from decoct.run.recipe import load_recipe
from decoct.training import loop

# Who is killed, and how; `alone` is a single process, and `of two` one of those of --jobs 2.
KINDS = (
    "SIGKILL alone",
    "SIGTERM alone",
    "SIGKILL worker of two",
    "SIGKILL parent of two",
    "SIGTERM parent of two",
    "SIGKILL while another waits",
    "SIGKILL one of two that share",
)
# What depends on the clock: everything else must be equal to the bit.
TIMED = {"seconds.json", "metrics.jsonl", "run.json"}
_ENDS_S = 120.0  # nothing takes longer
_STAGE = re.compile(r"^stage \d+ of \d+: (.+)$", re.MULTILINE)

TINY = """
name: tiny
size: 12
device: cpu
images: {{source: {pool}, size: 16}}
teacher:
  train: true
  ssl:
    {{network: {{name: resnet10-small, width: 4}}, epochs: 4, warm_up: 1, batch: 32, projector: 16}}
targets: {{components: 4}}
experts: {{count: 3, epochs: 2, batch: 32, network: {{width: 4, depth: 2}}}}
assistant: {{epochs: 5, batch: 32, network: {{width: 4, depth: 2}}}}
rule: {{batch: 8}}
matching:
  iterations: 12
  inner_steps: 4
  expert_epochs: 1
  max_start_epoch: 2
  batch: 8
  optimiser: adam
  lr_images: 0.05
  lr_targets: 0.05
  checkpoint_every: 3
pretrain: {{epochs: 5, network: {{width: 4, depth: 2}}}}
probe: {{fractions: [0.3]}}
compare:
  {{methods: [random, mkdt, carried, full], seeds: 1, tasks: [{task}], full_epochs: 2}}
"""


@dataclass(frozen=True)
class Kill:
    """Who was killed, and at what work."""

    kind: str
    stage: str  # as the run says it; "the start" before the first


@dataclass
class Started:
    """A process that runs `decoct compare`, and the file with what it says."""

    process: ForkProcess
    log: Path

    @property
    def said(self) -> str:
        """Everything so far, also from its workers."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def stage(self) -> str:
        """The last stage that was begun."""
        return (_STAGE.findall(self.said) or ["the start"])[-1]

    def end(self, seconds: float = _ENDS_S) -> int | None:
        """Its exit status, after at most so many seconds; None if it is still there."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self, number: int) -> None:
        """Send a signal, if it is still there."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)

    def workers(self) -> list[int]:
        """The processes that it has begun."""
        pid = self.process.pid
        try:
            return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []


@dataclass
class Ground:
    """A recipe, and what an unbroken run of it makes, in which time."""

    folder: Path
    share: float = 0.4  # of an unbroken run's time: a process is killed after at most so much
    recipe: Path = field(init=False)
    expected: dict[str, bytes] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("fork")
        self.recipe = write_tiny_recipe(self.folder)
        command = ["compare", str(self.recipe), "--out", str(self.folder / "whole")]
        threadpool_limits(1)  # from now on: other numbers of threads round in other ways
        torch.set_num_threads(1)
        k_means._THREADS = 1  # a process with threads must not fork
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            assert cli.main(command) == 0
        began = time.monotonic()
        run = self.start(self.folder / "again")
        assert run.end() == 0, run.said
        self.seconds = time.monotonic() - began
        self.expected = contents(self.folder / "whole")
        assert any("probe.json" in name for name in self.expected)
        assert contents(self.folder / "again") == self.expected

    def start(
        self, out: Path, *, jobs: int = 1, wait: bool = False, share: bool = False
    ) -> Started:
        """Begin or continue a run."""
        number = len(list(self.folder.glob(f"{out.name}-*.log")))
        log = self.folder / f"{out.name}-{number}.log"
        log.touch()
        process = self._context.Process(
            target=decoct_compare, args=(self.recipe, out, log, jobs, wait, share)
        )
        process.start()
        return Started(process, log)

    def trial(self, name: str, draws: Random, most: int) -> list[Kill]:
        """Kill one run, again and again until it ends or `most` is reached; compare its bytes."""
        out, kills, waiting = self.folder / name, list[Kill](), None
        while True:
            kind = draws.choice(KINDS if waiting is None else KINDS[:2])
            share = "share" in kind
            jobs = 2 if "of two" in kind and not share else 1
            run = waiting or self.start(out, jobs=jobs, share=share)
            other = self.start(out, share=True) if share else None
            ended = run.end(draws.uniform(0, self.share * self.seconds)) is not None
            if ended or len(kills) == most:
                assert run.end() == 0, run.said
                assert other is None or other.end() == 0, other.said
                break
            waiting = self._waiting(out) if "waits" in kind else other
            stage = run.stage
            _kill(run, kind)
            if run.process.exitcode != 0:  # it had not just ended
                kills.append(Kill(kind, stage))
        assert contents(out) == self.expected
        shutil.rmtree(out)
        for log in self.folder.glob(f"{name}-*.log"):
            log.unlink()
        return kills

    def _waiting(self, out: Path) -> Started:
        """A second process on the same folder, which has to wait."""
        second = self.start(out, wait=True)
        _until(lambda: "waiting for" in second.said or not second.process.is_alive())
        return second

    def kills(self, count: int, seed: int) -> list[Kill]:
        """So many kills, in as many trials as that takes."""
        draws, kills = Random(seed), list[Kill]()
        while len(kills) < count:
            kills += self.trial(f"trial-{len(kills)}", draws, count - len(kills))
        return kills


def _kill(run: Started, kind: str) -> None:
    """Kill who is to be killed; the run and its workers end, and a signal that it hears is told."""
    workers = run.workers()
    if "worker" in kind and workers:
        with suppress(ProcessLookupError):
            os.kill(workers[-1], signal.SIGKILL)
        assert run.end() in (0, 2), run.said
        assert run.process.exitcode == 0 or "was killed" in run.said, run.said
    elif "SIGTERM" in kind:
        run.kill(signal.SIGTERM)
        assert run.end() in (0, 143, -signal.SIGTERM), run.said  # the last: before decoct began
        assert run.process.exitcode != 143 or "terminated; the same" in run.said, run.said
    else:
        run.kill(signal.SIGKILL)
        run.end()
    assert "Traceback" not in run.said, run.said
    _until(lambda: not any(map(_is_alive, workers)))


def _is_alive(pid: int) -> bool:
    """Whether a process exists that is more than an entry for its parent to read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _ENDS_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def write_tiny_recipe(folder: Path) -> Path:
    """A recipe, its pool and its task: random blocks of colour in three classes."""
    draw = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = draw.integers(0, 256, (120, 4, 4, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    images[..., 1] = images[..., 1] // 4 + 60 * labels[:, None, None].astype(np.uint8)
    pool, task = folder / "pool.npz", folder / "blocks.npz"
    np.savez(pool, images=images)
    np.savez(
        task,
        train_images=images[:90],
        train_labels=labels[:90],
        test_images=images[90:],
        test_labels=labels[90:],
    )
    recipe = folder / "tiny.yaml"
    recipe.write_text(TINY.format(pool=pool, task=task))
    return recipe


def decoct_compare(recipe: Path, out: Path, log: Path, jobs: int, wait: bool, share: bool) -> None:
    """`decoct compare`, in this process; its workers are forked as well."""
    loop.CHECKPOINT_EVERY_S = 0.0  # epochs are short here; save after every one
    claims._POLL_S = 0.05
    said = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1), os.dup2(said, 2)
    context, start = multiprocessing.get_context, workers._start

    def start_aloud(threads: int) -> None:
        start(threads)
        workers.console.quiet = False  # so that the stage is known

    _fork_as_if_spawned()
    multiprocessing.get_context = lambda method=None: context("fork")
    workers._start = start_aloud
    verbs.parse = partial(parsed, out=out, jobs=jobs, wait=wait, share=share)
    os._exit(cli.main(["compare", str(recipe)]))


def _fork_as_if_spawned() -> None:
    """From its first moment a process forked by this one ends at SIGTERM, as a spawned one does."""
    terminate = {signal.SIGTERM}

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, terminate)

    def begin() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, terminate),
        after_in_parent=unblock,
        after_in_child=begin,
    )


def parsed(verb: str, arguments: list[str], **given: Any) -> Call:
    """As `flags.parse`, but its flags are given: their parser takes longer than a tiny run."""
    recipe = load_recipe(arguments[0])
    return Call(recipe, replace(flags._flags_of(recipe, verb)(), recipe=recipe, **given))


def contents(folder: Path) -> dict[str, bytes]:
    """The artefacts of a run, byte for byte, without what was half written at a kill."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in TIMED and not file.name.startswith(".")
    }
