"""The counts of docs/reliability.md, from the records beside it and the corpora of the tests.

python -m benchmarks.reliability
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.common import table
from tests.hostile import (
    test_arrays,
    test_artefacts,
    test_checkpoints,
    test_folders,
    test_pictures,
    test_recipes,
    test_tables,
)

RECORDS = Path(__file__).parent / "reliability"
HEADER = ("what", "tried", "survived", "command")


def counts() -> str:
    """The table, in Markdown."""
    rows = [*_faults(), *_kills(), *_damage(), *_fuzzed(), *_hostile(), _bad_input()]
    return table(HEADER, [[what, f"{n:,}", f"{good:,}", f"`{how}`"] for what, n, good, how in rows])


Row = tuple[str, int, int, str]


def _record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return found


def _faults() -> list[Row]:
    found = _record("faults")
    filled = found["full disks"]["kinds"]["full disk"]
    names = {
        "faults": ("operations on a file that fail", ""),
        "power cuts": ("power cuts after an operation", ""),
        "full disks": (f"disks of up to 1 MB, of which {filled} were full", " --full-disks 60"),
    }
    rows = []
    for part, (what, flags) in names.items():
        every = found[part]["every"]
        flags += f" --every {every}" * (every > 1)
        how = f"python benchmarks/faults.py{flags}"
        rows.append((what, found[part]["tried"], found[part]["survived"], how))
    return rows


def _kills() -> list[Row]:
    rows = []
    for name, what in (
        ("kills", "kills of a process, after which the run ends in the same bytes"),
        ("scaling_kills", "kills of one of several processes, after which others end the run"),
    ):
        found = _record(name)
        how = f"python benchmarks/{name}.py" + f" --kills {found['tried']}" * (name != "kills")
        rows.append((what, found["tried"], found["survived"], how))
    return rows


def _damage() -> list[Row]:
    found, how = _record("flips"), "python benchmarks/flips.py"
    flips = f"bytes changed, one at a time, in {found['files']} files, and noticed"
    again = "of these changes, after which the run makes the same bytes"
    return [
        (flips, found["tried"], found["noticed"], how),
        (again, found["run again"], found["same bytes"], how),
    ]


def _fuzzed() -> list[Row]:
    rows = []
    for target in ("artefacts", "recipes", "checkpoints", "arrays", "machine"):
        if not (RECORDS / f"fuzz-{target}.json").exists():  # not measured since it last changed
            continue
        found = _record(f"fuzz-{target}")
        what = f"inputs for the reader of {target}, made by a fuzzer"
        if target == "machine":
            what = "steps of random walks over a run's folder"
        how = f"python benchmarks/fuzz.py {target}"
        rows.append((what, found["tried"], found["survived"], how))
    return rows


def _hostile() -> list[Row]:
    """The tests fail if one is not refused, or read as it is meant."""
    corpora = {
        "artefacts": (test_artefacts.RAW, test_artefacts.JSON, test_artefacts.CONTENTS),
        "arrays": (test_arrays.SOURCES, test_arrays.TASKS, test_arrays.TARGETS),
        "checkpoints": (test_checkpoints.CHECKPOINTS,),
        "pictures": (test_pictures.CORPUS, test_pictures.CUT),
        "tables": (test_tables.TABLES, test_tables.DATA_SETS),
        "recipes": (test_recipes.TEXTS,),
        "folders": (test_folders.NAMES,),
    }
    rows = []
    for sort, corpus in corpora.items():
        what = "names in a folder" if sort == "folders" else f"hostile {sort}"
        number = sum(map(len, corpus))
        rows.append((what, number, number, f"pytest tests/hostile/test_{sort}.py"))
    return rows


def _bad_input() -> Row:
    found = _record("bad_input")["meta"]
    what = f"values that make no sense, for {found['fields']} settings"
    return what, found["tried"], found["refused"], "python -m benchmarks.bad_input"


if __name__ == "__main__":
    print(counts())
