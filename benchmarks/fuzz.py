"""Fuzz the readers of files, or walk at random over a run's folder, for a given time.

pip install atheris==3.0.0
python benchmarks/fuzz.py artefacts --seconds 600
python benchmarks/fuzz.py machine --seconds 600

Targets: artefacts, recipes, checkpoints (a teacher's weights), arrays (.npz, .npy, IDX, CSV) and
machine (runs that are killed, edited, damaged, copied, cleaned and resumed). A crash is any
exception but DecoctError, over 2 s of processor time, or 300 MB more memory for one input. Inputs
that crash are kept in build/fuzz/TARGET/crashes, one for each place in the code. `--keep` adds
inputs that reach new code to tests/hostile/corpus, which the test suite replays.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import machine, peak_resident_bytes, table

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests/hostile/corpus"
BUILD = ROOT / "build/fuzz"
SLOW_S, MORE_BYTES, LONGEST = 2.0, 300_000_000, 16_384  # LONGEST: bytes of an input
_PROGRESS = re.compile(r"^#(\d+)\t.*? cov: (\d+)", re.MULTILINE)  # of libFuzzer
_KEPT = 150_000  # bytes of a target's corpus in the repository


def main() -> None:
    """Fuzz one target, print a row and write a record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ("artefacts", "recipes", "checkpoints", "arrays", "machine")
    parser.add_argument("target", choices=names)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="add to the corpus in the repository")
    parser.add_argument("--describe", type=Path, help="first add the artefacts of this folder")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    own = {"nargs": argparse.REMAINDER, "default": [], "help": argparse.SUPPRESS}
    parser.add_argument("--flags", **own)  # libFuzzer's
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.worker:
        fuzz(options.target, options.worker, options.seconds, options.flags)
    elif options.target == "machine":
        from tests.run.test_folder_machine import walk

        report("machine", walk(options.seconds))
    else:
        report(options.target, drive(options.target, options.seconds, options))


def drive(target: str, seconds: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run workers one after another until the time is over; returns what they found."""
    folder = BUILD / target
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("new", "crashes"):
        (folder / name).mkdir(parents=True)
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    if options.describe:
        add_descriptions(options.describe, folder / "new")
    executions, coverage, end = 0, 0, time.monotonic() + seconds
    while (left := round(end - time.monotonic())) > 0:
        command = [sys.executable, __file__, target, "--seconds", str(left), "--worker", folder]
        with (folder / "log.txt").open("a+b") as log:
            begin = log.seek(0, os.SEEK_END)
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
            log.seek(begin)
            text = log.read().decode(errors="replace")
        found = [[int(n) for n in line] for line in _PROGRESS.findall(text)]
        if not found:
            raise SystemExit(f"the worker ended with {code}:\n{text[-3000:]}")
        executions += max(count for count, _ in found)
        coverage = max([coverage, *(covered for _, covered in found)])
    if options.keep:
        keep(target, folder)
    crashes = sorted(path.name for path in (folder / "crashes").iterdir())
    return {
        "tried": executions,
        "survived": executions - len(crashes),
        "coverage": coverage,
        "corpus": len(list((CORPUS / target).iterdir())),
        "crashes": crashes,
        "seconds": seconds,
    }


def add_descriptions(run: Path, into: Path) -> None:
    """The artefacts of a run's folder as inputs."""
    from fuzz_targets import described

    for file in sorted(run.rglob("*")):
        if file.suffix in (".safetensors", ".json") and file.name != "seconds.json":
            content = described(file)
            if len(content) <= LONGEST:
                (into / hashlib.sha1(content).hexdigest()).write_bytes(content)


def keep(target: str, folder: Path) -> None:
    """Reduce the corpus to what reaches other code, smallest first, and copy it."""
    merged = folder / "merged"
    merged.mkdir()
    again = folder / "again.sh"  # libFuzzer starts itself for each part of a merge
    again.write_text(
        f"#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {target} "
        f'--worker {folder} --flags "$@"\n'
    )
    again.chmod(0o755)
    flags = ["-merge=1", str(merged), str(CORPUS / target), str(folder / "new")]
    subprocess.run([again, *flags], check=True, capture_output=True)
    room = _KEPT
    for file in sorted(merged.iterdir(), key=lambda path: path.stat().st_size):
        room -= file.stat().st_size
        if room < 0:
            break
        content = file.read_bytes()
        if not any(content == old.read_bytes() for old in (CORPUS / target).iterdir()):
            shutil.copy(file, CORPUS / target / file.name[:12])


def fuzz(target: str, folder: Path, seconds: int, flags: list[str]) -> None:
    """In a process of its own: fuzz until the time is over, or do what `flags` say."""
    import atheris
    from torch._weights_only_unpickler import Unpickler

    with atheris.instrument_imports(include=["decoct"]):  # so that it knows an input by its path
        from fuzz_targets import TARGETS
    atheris.instrument_func(Unpickler.load)
    from fuzz_mutate import mutated_json, mutated_yaml

    from decoct.core.console import console

    console.quiet = True
    mutated = mutated_yaml if target == "recipes" else mutated_json
    one = watched(target, TARGETS[target], folder / "crashes")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return mutated(data, most, seed, atheris.Mutate)

    limit = (
        peak_resident_bytes() // 2**20 + 2500
    )  # what watched() cannot stop, before the machine suffers
    flags = flags or [
        f"-max_total_time={seconds}",
        "-timeout=20",  # seconds; above it the process ends
        f"-rss_limit_mb={limit}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={folder}/crashes/",
        *(str(folder / "new"), str(CORPUS / target)),
    ]
    atheris.Setup([str(folder / "again.sh"), *flags], one, custom_mutator=mutate)
    atheris.Fuzz()


def watched(
    target: str, read: Callable[[bytes, Path], None], crashes: Path
) -> Callable[[bytes], None]:
    """A reader of inputs that notes each place in the code that crashes, and goes on."""
    from fuzz_targets import Skip

    from decoct.core.errors import DecoctError

    limit = virtual_bytes() + 4 * 2**30  # larger requests fail at once
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    place = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))

    def one(data: bytes) -> None:
        for old in place.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        fault = ""
        base, start = reset_peak(), time.process_time()
        try:
            read(data, place)
        except (Skip, DecoctError):
            pass
        except Exception as error:
            fault = bucket(error)
        used, more = time.process_time() - start, peak_resident_bytes() - base
        if used > SLOW_S:
            fault = f"slow-{used:.0f}s"
        if more > MORE_BYTES:
            fault = f"memory-{more // 10**8}00MB"
        if fault and not (crashes / fault).exists():
            (crashes / fault).write_bytes(data)
            print(f"{target}: {fault}", flush=True)

    return one


def bucket(error: BaseException) -> str:
    """A file's name that says what was raised and where in decoct."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/decoct/" in f.filename]
    where = f"{Path(frames[-1].filename).stem}-{frames[-1].lineno}" if frames else "outside"
    return f"{type(error).__name__}-{where}"


def reset_peak() -> int:
    """Make the kernel forget this process's peak memory (Linux); returns what it is now."""
    with suppress(OSError):  # elsewhere the peak only grows: the first large input counts
        Path("/proc/self/clear_refs").write_text("5")
    return peak_resident_bytes()


def virtual_bytes() -> int:
    """The address space of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def report(target: str, found: dict[str, Any]) -> None:
    """Print the row, and write the record."""
    found |= {"machine": machine(torch.device("cpu")), "platform": platform.platform()}
    if target != "machine":
        found["atheris"] = version("atheris")
    place = ROOT / "benchmarks/reliability"
    place.mkdir(exist_ok=True)
    (place / f"fuzz-{target}.json").write_text(json.dumps(found, indent=1) + "\n")
    row = [f"fuzz {target}", f"{found['tried']:,}", f"{found['survived']:,}"]
    command = f"`python benchmarks/fuzz.py {target} --seconds {found['seconds']}`"
    print(table(["what", "tried", "survived", "command"], [[*row, command]]))
    for crash in found["crashes"]:
        print(f"crash: {crash}")
    raise SystemExit(bool(found["crashes"]))


if __name__ == "__main__":
    main()
