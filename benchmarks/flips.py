"""Damage every byte of every file of a tiny run of all methods, one at a time: is it noticed?

python benchmarks/flips.py --again 20 --record benchmarks/reliability/flips.json
"""

import argparse
import contextlib
import io
import json
import platform
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import machine, table

from decoct import DecoctError, Run, load_recipe, verify
from decoct.cli import main as decoct
from decoct.core import checkpoint, storage
from decoct.core.console import console, progress
from decoct.methods.registry import METHODS
from decoct.report.readers import READERS

_TIMES = {"seconds.json", "run.json"}
_NETWORK = {"width": 2, "depth": 1}


def make_data(folder: Path) -> Path:
    """24 pictures of 8 px, a task of two classes, and a recipe of every method; its path."""
    draws = np.random.default_rng(0)
    pictures = draws.integers(256, size=(24, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "pool.npz", images=pictures)
    parts = {"train": pictures[:16], "test": pictures[16:]}
    labelled = {f"{part}_images": some for part, some in parts.items()}
    labels = {f"{part}_labels": np.arange(len(some)) % 2 for part, some in parts.items()}
    np.savez(folder / "task.npz", **labelled, **labels, class_names=["a", "b"])
    bn = {"name": "convnet-bn", **_NETWORK}
    regressed = {"iterations": 1, "population": 1, "lifetime": 2, "batch": 8, "network": bn}
    teacher = {"network": {"name": "resnet10-small", "width": 1}, "epochs": 1, "warm_up": 0}
    recipe = {
        "data": str(folder),
        "device": "cpu",
        "size": 4,
        "images": {"source": "pool.npz", "size": 8, "holdout": 0.25},
        "teacher": {"train": True, "ssl": {**teacher, "batch": 8, "projector": 4}},
        "targets": {"components": 2},
        "experts": {"count": 1, "epochs": 2, "batch": 8, "network": _NETWORK},
        "assistant": {"epochs": 1, "batch": 8, "network": _NETWORK},
        "views": {"count": 2},
        "sas": {"classes": 2},
        "rule": {"batch": 4},
        "matching": {"iterations": 1, "inner_steps": 1, "expert_epochs": 1, "batch": 4},
        "mtt_ssl": {"objective": {"projector": 4, "algorithm": "simclr"}},
        "krr_st": regressed,
        "boost_ssdd": regressed
        | {"image_bases": 4, "target_bases": 2, "base_size": 4, "labels": "image"}
        | {"offset_epochs": 1},
        "ssl": {"projector": 4, "batch": 8},
        "pretrain": {"epochs": 1, "network": _NETWORK},
        "probe": {"fractions": [0.5], "draws": 1},
        "compare": {"methods": list(METHODS), "seeds": 1, "tasks": ["task.npz"]},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "mine.yaml"


def run(recipe: Path, out: Path) -> int:
    """Run the whole command in this process, without its output; returns the exit status."""
    with contextlib.redirect_stdout(io.StringIO()):
        return decoct(["run", str(recipe), "--out", str(out)])


def add_checkpoint(recipe: Path, out: Path) -> None:
    """Put a checkpoint into the folder of a finished run, where none is left."""
    network = Run(load_recipe(recipe), out).assistant.network
    tensors = checkpoint.module_tensors("network", network)
    checkpoint.save(out / "state.safetensors", tensors, meta={"losses": [1.0], "schedules": []})


def artefacts(folder: Path) -> list[Path]:
    """The files that have a digest."""
    suffixes = (".safetensors", ".json")
    return [path for path in sorted(folder.rglob("*")) if path.suffix in suffixes]


def flips(file: Path, draws: random.Random, *, every: int) -> Iterator[int]:
    """Change every (or every so manieth) byte to another; yields its place while it is changed."""
    whole = file.read_bytes()
    for place in range(draws.randrange(every), len(whole), every):
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(bytes([whole[place] ^ draws.randint(1, 255)]))
        yield place
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(whole[place : place + 1])
    assert file.read_bytes() == whole


def noticed(file: Path, kind: str) -> bool:
    """Whether decoct sees that a file is damaged; any error but its own ends the benchmark."""
    if storage.is_valid(file, kind=kind):
        return False
    try:
        READERS[kind](file)
    except DecoctError as error:
        return str(file) in str(error)
    return False


def count_noticed(run_folder: Path, draws: random.Random, *, every: int) -> dict[str, Counter[str]]:
    """By kind of file: how many bytes were changed, and how many of those were noticed."""
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as to:
        files = artefacts(run_folder)
        with progress("flips, files", total=len(files)) as advance:
            for file in files:
                kind = storage.read_header(file)["kind"]
                copy = Path(shutil.copy(file, to))
                counts = found.setdefault(kind, Counter())
                counts["files"] += 1
                for place in flips(copy, draws, every=every):
                    counts["tried"] += 1
                    if noticed(copy, kind):
                        counts["noticed"] += 1
                    else:
                        print(f"not noticed: byte {place} of {file}")
                copy.unlink()
                advance("")
    return found


def same_again(recipe: Path, folder: Path, draws: random.Random, times: int) -> int:
    """How often, after a flip in one file, the same command makes the same bytes again."""
    whole = {file: file.read_bytes() for file in artefacts(folder) if file.name not in _TIMES}
    equal = 0
    with progress("the whole command again", total=times) as advance:
        for file in draws.sample(sorted(whole), times):
            for place in flips(file, draws, every=len(whole[file])):
                damaged = [one.path for one in verify(folder) if one.state == "damaged"]
                status = run(recipe, folder)
                alike = all(path.read_bytes() == content for path, content in whole.items())
                equal += status == 0 and file in damaged and alike
                if not alike:
                    print(f"not made again: byte {place} of {file}")
            advance("")
    return equal


def main() -> None:
    """Print a row, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="change one byte of so many")
    parser.add_argument("--again", type=int, default=20, help="runs of the whole command")
    parser.add_argument("--record", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, draws = time.monotonic(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        recipe, folder = make_data(Path(place)), Path(place) / "run"
        console.quiet = True
        if status := run(recipe, folder):
            raise SystemExit(f"the run failed with status {status}")
        add_checkpoint(recipe, folder)
        console.quiet = False
        kinds = count_noticed(folder, draws, every=options.every)
        (folder / "state.safetensors").unlink()
        console.quiet = True
        equal = same_again(recipe, folder, draws, options.again)
    totals: Counter[str] = sum(kinds.values(), Counter())
    record: dict[str, Any] = {
        "tried": totals["tried"],
        "noticed": totals["noticed"],
        "files": totals["files"],
        "by kind": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
        "run again": options.again,
        "same bytes": equal,
        "seconds": round(time.monotonic() - start),
        "machine": machine(torch.device("cpu")),
        "platform": platform.platform(),
    }
    if options.record:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(json.dumps(record, indent=1) + "\n")
    row = [
        "bytes changed, one at a time",
        f"{record['tried']:,} in {record['files']} files",
        f"{record['noticed']:,} noticed; {equal} of {options.again} made again to the byte",
        "`python benchmarks/flips.py`",
    ]
    print(table(["what", "tried", "survived", "command"], [row]))


if __name__ == "__main__":
    main()
