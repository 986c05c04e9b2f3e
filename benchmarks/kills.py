"""Kill tiny runs at random moments, let them go on, and compare their bytes with an unbroken run's.

OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 1000 --processes 2

Who is killed is drawn: a single process, one of the two of --jobs 2 or their parent, one for which
another waits, or one of two that share the folder. The stage is that which the run had begun last.
A run is compared when it has ended; all kills of a run whose bytes differ, or that says what it
should not, count as lost.
"""

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import torch
from common import machine, table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.run.kills import Ground, Kill  # noqa: E402

RECORD = ROOT / "benchmarks/reliability/kills.json"
Outcome = tuple[list[Kill], list[str]]  # kills that a run survived; what went wrong


def main() -> None:
    """Print a row and write a record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="that kill side by side")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shares = [len(range(i, options.kills, options.processes)) for i in range(options.processes)]
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")  # each forks, so it must have one thread
    with ProcessPoolExecutor(options.processes, context) as pool:
        seeds = range(options.seed, options.seed + options.processes)
        outcomes = list(pool.map(kill_runs, shares, seeds))
    kills = [kill for survived, _ in outcomes for kill in survived]
    wrong = [text for _, texts in outcomes for text in texts]
    report(kills, wrong, options.kills, time.monotonic() - began)
    sys.exit(1 if wrong else 0)


def kill_runs(count: int, seed: int) -> Outcome:
    """So many kills in this process; whatever goes wrong costs one."""
    survived, wrong, draws = list[Kill](), list[str](), Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder))
        while (left := count - len(survived) - len(wrong)) > 0:
            try:
                survived += ground.trial(f"trial-{left}", draws, left)
            except AssertionError as error:
                wrong.append(str(error))
            print(f"seed {seed}: {count - left} of {count}", file=sys.stderr, flush=True)
    return survived, wrong


def report(kills: list[Kill], wrong: list[str], tried: int, seconds: float) -> None:
    """Print the row and what went wrong, and write the record."""
    kinds = Counter(kill.kind for kill in kills)
    stages = Counter(sort_of(kill.stage) for kill in kills)
    record: dict[str, Any] = {
        "tried": tried,
        "survived": len(kills),
        "by kind": dict(sorted(kinds.items())),
        "by stage": dict(stages.most_common()),
        "wrong": wrong,
        "seconds": round(seconds),
        "machine": machine(torch.device("cpu")),
    }
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(*wrong, sep="\n\n")
    for counts in (kinds, stages):
        print(table(["where", "kills"], counts.most_common()), end="\n\n")
    command = "`benchmarks/kills.py`"
    row = ["kills of a process, the run then byte-equal", f"{tried:,}", f"{len(kills):,}", command]
    print(table(["what", "tried", "survived", "command"], [row]))


def sort_of(stage: str) -> str:
    """The work of a stage, of whichever method and seed.

    >>> sort_of("encoder-mkdt-seed0"), sort_of("probe-full-seed0"), sort_of("mkdt-seed0")
    ('pre-training', 'probing', 'mkdt')
    """
    first = stage.partition("-")[0]
    named = {"encoder": "pre-training", "probe": "probing"}
    return named.get(first, re.sub(r"-seed\d+$", "", stage))


if __name__ == "__main__":
    main()
