"""Kill one process of several with SIGKILL at random moments, let another number of them go on.

python benchmarks/scaling_kills.py --kills 50

The runs are tiny; 1 to 4 processes share one, a thread each, started by torchrun or by --devices 2,
whose launcher is killed at times, too. What a run has made in the end is compared with what one
unbroken process makes: file by file, to the bit or by the largest difference of a number, as a
share of the largest number in its tensor.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from common import machine, table
from kills import sort_of
from safetensors.torch import load

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.faults.tiny import write_tiny  # noqa: E402
from tests.run.kills import _STAGE, _is_alive, contents  # noqa: E402

RECORD = ROOT / "benchmarks/reliability/scaling_kills.json"
METHODS = "[random, k-means, views, mkdt, full]"
# The assistant by SGD: Muon makes much of rounding (benchmarks/scaling_rounding.py).
LONGER = [
    "--assistant.optimiser",
    "sgd",
    "--assistant.lr",
    "0.2",
    "--experts.count",
    "4",
    "--experts.epochs",
    "5",
    "--assistant.epochs",
    "10",
    "--matching.iterations",
    "30",
    "--matching.checkpoint-every",
    "3",
    "--pretrain.epochs",
    "20",
    "--probe.draws",
    "2",
    "--compare.full-epochs",
    "10",
]
# decoct that keeps a checkpoint after every epoch, as epochs are short here.
OFTEN = """
import sys
from decoct.training import loop
loop.CHECKPOINT_EVERY_S = 0.0
from decoct.cli import main
sys.exit(main())
"""
STARTS = ("1", "torchrun 2", "torchrun 3", "torchrun 4", "--devices 2")
CLOSE = 1e-3  # sums of single-precision numbers in another order, over a whole training
_ENDS_S = 300.0


@dataclass
class Started:
    """A command, and the file with what it says."""

    process: subprocess.Popen[bytes]
    log: Path
    start: str

    @property
    def said(self) -> str:
        """Everything so far, of all processes."""
        return self.log.read_text(errors="replace")

    def ranks(self) -> list[int]:
        """The processes that share the work."""
        pid = self.process.pid
        if self.start == "1":
            return [pid]
        file = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(x) for x in file.read_text().split()] if file.exists() else []

    def wait_for_work(self) -> None:
        """Return when the first stage has begun, or all is over."""
        while not _STAGE.search(self.said) and self.process.poll() is None:
            time.sleep(0.02)


@dataclass
class Ground:
    """A recipe, and what an unbroken run of one process makes of it, in which time."""

    folder: Path
    differences: dict[str, float] = field(default_factory=dict)  # the largest, by kind of file

    def __post_init__(self) -> None:
        self.recipe = write_tiny(self.folder, methods=METHODS)
        (self.folder / "often.py").write_text(OFTEN)
        began = time.monotonic()
        run = self.start(self.folder / "whole", "1")
        run.wait_for_work()
        self.seconds = -time.monotonic()
        assert run.process.wait() == 0, run.said
        self.seconds += time.monotonic()
        print(f"unbroken: {time.monotonic() - began:.0f} s", file=sys.stderr)
        self.expected = contents(self.folder / "whole")

    def start(self, out: Path, start: str) -> Started:
        """Begin or continue a run."""
        decoct = ["-m", "decoct"] if start.startswith("--") else [str(self.folder / "often.py")]
        first = [sys.executable]
        if start.startswith("torchrun"):
            first += ["-m", "torch.distributed.run", "--nproc-per-node", start.split()[1]]
        more = start.split() if start.startswith("--") else []
        command = [*first, *decoct, "run", str(self.recipe), "--out", str(out), *LONGER, *more]
        log = self.folder / f"{out.name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdout=said,
                stderr=said,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")},
            )
        return Started(process, log, start)

    def trial(self, name: str, draws: Random, most: int) -> list[tuple[str, str]]:
        """Kill a run at most so many times, let it end, and compare; returns who, and where."""
        out, kills, start = self.folder / name, list[tuple[str, str]](), draws.choice(STARTS)
        while True:
            run = self.start(out, start)
            run.wait_for_work()
            if len(kills) == most:
                break
            try:
                run.process.wait(draws.uniform(0, 0.8 * self.seconds))
                break  # it was quicker
            except subprocess.TimeoutExpired:
                stage = (_STAGE.findall(run.said) or ["the start"])[-1]
                kills.append((self._kill(run, draws), sort_of(stage)))
            start = draws.choice([other for other in STARTS if other != start])
        assert run.process.wait(_ENDS_S) == 0, run.said
        for kind, apart in compare(self.expected, contents(out)).items():
            self.differences[kind] = max(apart, self.differences.get(kind, 0.0))
        shutil.rmtree(out)
        return kills

    def _kill(self, run: Started, draws: Random) -> str:
        """End one process; all others must end, in little time and with a sentence of ours."""
        ranks = run.ranks()
        victim = draws.choice([*ranks, run.process.pid] if "--" in run.start else ranks)
        os.kill(victim, signal.SIGKILL)
        run.process.wait(_ENDS_S)
        end = time.monotonic() + _ENDS_S
        while any(map(_is_alive, ranks)):
            assert time.monotonic() < end, f"{run.start}: a process lives on\n{run.said}"
            time.sleep(0.05)
        who = f"rank {ranks.index(victim)}" if victim in ranks else "launcher"
        if "--" in run.start and who != "launcher" and run.process.returncode != 0:
            assert f"decoct: {who} was ended by SIGKILL" in run.said, run.said
        return f"{run.start}: {who}"


def compare(expected: dict[str, bytes], found: dict[str, bytes]) -> dict[str, float]:
    """The largest difference of each file that is not equal to the bit; raise for a large one."""
    kept = {n for n in expected if not n.endswith((".html", "state.safetensors"))}
    made = {n for n in found if not n.endswith((".html", "state.safetensors"))}
    assert kept == made, kept ^ made
    apart = {}
    for name in sorted(n for n in kept if expected[n] != found[n]):
        if name.endswith(".safetensors"):
            kind = sort_of(name)
            apart[kind] = max(apart.get(kind, 0.0), _largest(expected[name], found[name]))
    assert all(value < CLOSE for value in apart.values()), apart
    return apart


def _largest(first: bytes, second: bytes) -> float:
    tensors = [load(content) for content in (first, second)]
    assert tensors[0].keys() == tensors[1].keys()
    return max(
        float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp(min=1e-30))
        for a, b in ((tensors[0][name], tensors[1][name]) for name in tensors[0])
        if a.numel()
    )


def main() -> None:
    """Print a table and write a record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kills, wrong, draws = list[tuple[str, str]](), list[str](), Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder))
        while (left := options.kills - len(kills) - len(wrong)) > 0:
            try:
                kills += ground.trial(f"trial-{left}", draws, min(left, 5))
            except (AssertionError, subprocess.TimeoutExpired) as error:
                wrong.append(str(error))
            print(f"{len(kills)} of {options.kills}", file=sys.stderr, flush=True)
    report(kills, wrong, ground.differences, options.kills, time.monotonic() - began)
    sys.exit(1 if wrong else 0)


def report(
    kills: Sequence[tuple[str, str]],
    wrong: Sequence[str],
    differences: dict[str, float],
    tried: int,
    seconds: float,
) -> None:
    """Print what was survived and what went wrong, and write the record."""
    whos, stages = Counter(who for who, _ in kills), Counter(stage for _, stage in kills)
    record: dict[str, Any] = {
        "tried": tried,
        "survived": len(kills),
        "by kind": dict(sorted(whos.items())),
        "by stage": dict(stages.most_common()),
        "largest differences of files that are not equal to the bit": differences,
        "wrong": list(wrong),
        "seconds": round(seconds),
        "machine": machine(torch.device("cpu")),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(*wrong, sep="\n\n")
    print(table(["who was killed", "kills"], whos.most_common()), end="\n\n")
    print(table(["where", "kills"], stages.most_common()), end="\n\n")
    row = [f"{tried:,}", f"{len(kills):,}", "`benchmarks/scaling_kills.py`"]
    print(table(["tried", "survived", "command"], [row]))


if __name__ == "__main__":
    main()
