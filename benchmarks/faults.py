"""Let every operation of a tiny run on files fail, and cut the power after each of them.

python benchmarks/faults.py
python benchmarks/faults.py --every 49                    # a sample
python benchmarks/faults.py --full-disks 40               # as root on Linux

Operations are what Python and safetensors do below the run's folder; each fails once with EIO,
ENOSPC, EACCES and EINTR. After a power cut, what was not synced is gone or cut short, as ALICE has
it. Survived means: the command answers in a sentence or goes on, and the same command then makes
the same artefacts, to the byte, without calling any file damaged.

A second opinion comes from below Python: a full disk (tmpfs), of so many sizes up to 1 MB.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import machine, table

sys.path.insert(0, str(Path(__file__).parents[1]))

from decoct.training import loop
from tests.faults.crash import State, states
from tests.faults.disk import ERRORS, Disk, Operation
from tests.faults.tiny import (
    Artefacts,
    check_answer,
    contents,
    decoct,
    put,
    state_of,
    survive_fault,
    survive_state,
    write_tiny,
)

RECORD = Path(__file__).parent / "reliability" / "faults.json"
TRIAL_S = 300  # a trial that takes longer hangs


class Trials:
    """A run in a folder of this process, done once, and what is tried on it."""

    def __init__(self, methods: str) -> None:
        torch.set_num_threads(1)
        loop.CHECKPOINT_EVERY_S = 0.0  # however short an epoch is, it has a checkpoint
        self.root = Path(tempfile.mkdtemp(prefix="faults-"))
        self.run = self.root / "run"
        recipe = write_tiny(self.root, methods=methods)
        self.command = ["run", str(recipe), "--out", str(self.run)]
        self.before: State = state_of(self.root)
        disk = Disk(self.root)
        with disk.watched():
            status, said = decoct(self.command)
        assert status == 0, said
        self.expected: Artefacts = contents(self.run)
        self.operations: list[Operation] = disk.operations

    def fault(self, fail: int, error: int) -> None:
        """Let one operation fail."""
        survive_fault(
            self.command,
            self.root,
            run=self.run,
            expected=self.expected,
            fail=fail,
            error=error,
        )

    def power_cut(self, state: State) -> None:
        """Go on from what a power cut has left."""
        put(self.root, state)
        survive_state(self.command, run=self.run, expected=self.expected)

    def attempt(self, name: str, trial: Callable[[], None]) -> str:
        """What is wrong after a trial, "" if nothing is."""
        before = time.monotonic()
        try:
            trial()
        except (Exception, AssertionError) as error:
            return f"{name}: {type(error).__name__}: {error}"
        seconds = time.monotonic() - before
        return f"{name}: took {seconds:.0f} s" if seconds > TRIAL_S else ""


def faults(methods: str, every: int, share: int, shares: int) -> tuple[Counter[str], list[str]]:
    """Each operation with each error, every so many of them; returns the counts and failures."""
    trials, counts, wrong = Trials(methods), Counter[str](), list[str]()
    numbered = [(n, error) for n in range(len(trials.operations)) for error in ERRORS]
    for number, error in numbered[share * every :: shares * every]:
        operation = trials.operations[number]
        counts[operation.kind] += 1
        name = f"fault {number} ({operation.kind} {operation.path.name}), {os.strerror(error)}"
        wrong.append(trials.attempt(name, partial(trials.fault, number, error)))
    shutil.rmtree(trials.root)
    return counts, list(filter(None, wrong))


def power_cuts(methods: str, every: int, share: int, shares: int) -> tuple[Counter[str], list[str]]:
    """Each state that a power cut may leave."""
    trials, counts, wrong = Trials(methods), Counter[str](), list[str]()
    found = states(trials.root, trials.operations, trials.before)
    for index, (number, state) in enumerate(found):
        if index % (shares * every) == share * every:
            counts["power cut"] += 1
            name = f"power cut after operation {number}"
            wrong.append(trials.attempt(name, partial(trials.power_cut, state)))
    shutil.rmtree(trials.root)
    return counts, list(filter(None, wrong))


def in_processes(
    trial: Callable[[str, int, int, int], tuple[Counter[str], list[str]]],
    methods: str,
    every: int,
    jobs: int,
) -> tuple[Counter[str], list[str]]:
    """The trials' shares side by side."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        shares = pool.starmap(trial, [(methods, every, n, jobs) for n in range(jobs)])
    return sum((c for c, _ in shares), Counter()), [text for _, wrong in shares for text in wrong]


def full_disks(methods: str, steps: int) -> tuple[Counter[str], list[str]]:
    """A tmpfs as the run's folder, which fills up at another point each time."""
    trials, counts, wrong = Trials(methods), Counter[str](), list[str]()
    for kibibytes in range(16, 1025, max(1, 1008 // steps)):
        shutil.rmtree(trials.run, ignore_errors=True)
        trials.run.mkdir()
        size = f"size={kibibytes}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", trials.run], check=True)
        try:
            status, said = decoct(trials.command)
            check_answer(status, said)
            subprocess.run(["mount", "-o", "remount,size=64m", trials.run], check=True)
            trial = partial(survive_state, trials.command, run=trials.run, expected=trials.expected)
            wrong.append(trials.attempt(f"tmpfs of {kibibytes} kB", trial))
        finally:
            # What is still mapped from it keeps it for a while.
            subprocess.run(["umount", "--lazy", trials.run], check=True)
        counts["full disk" if status else "disk large enough"] += 1
    shutil.rmtree(trials.root)
    return counts, list(filter(None, wrong))


def main() -> None:
    """Try all, print rows and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", default="[random, mkdt]", help="that the tiny run compares")
    parser.add_argument("--every", type=int, default=1, help="try one in so many; 1 is all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--full-disks", type=int, default=0, help="only these, of so many sizes")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rows, record = [], {}
    parts: dict[str, Callable[[], tuple[Counter[str], list[str]]]] = {
        name: partial(in_processes, trial, options.methods, options.every, options.jobs)
        for name, trial in (("faults", faults), ("power cuts", power_cuts))
    }
    if options.full_disks:
        parts = {"full disks": partial(full_disks, options.methods, options.full_disks)}
    for name, part in parts.items():
        start = time.monotonic()
        counts, wrong = part()
        print(*wrong, sep="\n", file=sys.stderr)
        seconds = round(time.monotonic() - start)
        tried = sum(counts.values())
        rows.append([name, tried, tried - len(wrong), f"{seconds} s"])
        record[name] = {
            "tried": tried,
            "survived": tried - len(wrong),
            "kinds": counts,
            "wrong": wrong,
            "every": options.every,
            "methods": options.methods,
            "seconds": seconds,
            "machine": machine(torch.device("cpu")),
        }
    print(table(["what", "tried", "survived", "time"], rows))
    RECORD.parent.mkdir(exist_ok=True)
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    RECORD.write_text(json.dumps(known | record, indent=1) + "\n")
    sys.exit(any(part["wrong"] for part in record.values()))


if __name__ == "__main__":
    main()
