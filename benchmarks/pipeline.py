"""Where the time goes: seconds per stage of whole runs, from nothing to the table of accuracies.

python benchmarks/pipeline.py                         # the demo
python benchmarks/pipeline.py demo proxy32 --data FOLDER_OF_PROXY32
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from common import machine, table

_OWN = {"proxy32": "proxy32/proxy32.yaml", "proxy32-ssl": "proxy32/proxy32-ssl.yaml"}


@dataclass(frozen=True)
class Options:
    """What to run."""

    recipes: tyro.conf.Positional[tuple[str, ...]] = ("demo",)
    data: str = ""  # where the suite's files are
    keep: Path | None = None  # a folder for the runs; default: a temporary one
    device: str = "cpu"


def main(options: Options) -> None:
    """Run each recipe in an empty folder, and print its table."""
    print(machine(torch.device(options.device)), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.recipes:
            folder = (options.keep or Path(temporary)) / name
            seconds, wall = run(name, folder, options)
            print(f"\n### {name}\n\n{stage_table(seconds, wall)}", flush=True)


def run(name: str, folder: Path, options: Options) -> tuple[dict[str, float], float]:
    """Seconds per stage, and of the whole command."""
    if folder.exists():
        raise SystemExit(f"{folder} already exists; a run from nothing needs an empty folder")
    recipe = Path(__file__).parent / _OWN[name] if name in _OWN else name
    command = [sys.executable, "-m", "decoct", "run", str(recipe), "--out", str(folder)]
    command += ["--device", options.device] + (["--data", options.data] if options.data else [])
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=sys.stderr)
    wall = time.monotonic() - start
    return json.loads((folder / "run.json").read_text())["meta"]["seconds"], wall


def stage_table(seconds: dict[str, float], wall: float) -> str:
    """Stages of one kind added up over seeds; the rest is start-up and loading."""
    kinds: dict[str, float] = defaultdict(float)
    for stage, value in seconds.items():
        kinds[re.sub(r"-seed\d+$", "", stage)] += value
    kinds["between the stages"] = wall - sum(kinds.values())
    rows = [[kind, f"{value:.1f}", f"{value / wall:.0%}"] for kind, value in kinds.items()]
    return table(["stage", "seconds", "share"], [*rows, ["in all", f"{wall:.1f}", "100%"]])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
