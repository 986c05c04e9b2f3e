"""The paper's sizes on one GPU, from images to accuracies, and the speed of a step there.

    benchmarks/gpu/bring.sh FOLDER_OF_PROXY32     # with internet; then copy the tree to the GPU
    python3 benchmarks/gpu/gpu.py --out OUT       # repeat until it prints that it is done

Each call works for at most `--seconds` and continues where the last one stopped: finished parts
are skipped, and the pipeline resumes from its checkpoints. `--quick --device cpu` is a smoke test.
It needs the packages of pyproject.toml; wheels in .gpu/wheels are added to the path automatically.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CARRIED = ROOT / ".gpu"
QUICK = {
    "unroll": ["--steps", "2", "--widths", "8", "--batches", "8", "--depths", "3", "--no-compile"],
    "experts": ["--count", "64", "--width", "8", "--repeats", "1", "--no-compile"],
    "gradient_error": ["--steps", "1", "--width", "4", "--batch", "4", "--no-compile"],
    "pipeline": [
        "--teacher.ssl.network.name",
        "resnet10-small",
        "--teacher.ssl.network.width",
        "4",
        "--teacher.ssl.epochs",
        "1",
        "--teacher.ssl.warm-up",
        "0",
        "--teacher.ssl.projector",
        "16",
        "--experts.count",
        "2",
        "--experts.network.width",
        "4",
        "--experts.batch",
        "4096",
        "--experts.compile",
        "never",
        "--matching.compile",
        "never",
        "--matching.iterations",
        "4",
        "--matching.inner-steps",
        "2",
        "--fraction",
        "0.002",
        "--pretrain.network.width",
        "4",
        "--pretrain.epochs",
        "1",
        "--compare.full-epochs",
        "1",
        "--compare.tasks",
        "clip8.npz",
        "--probe.fractions",
        "0.05",
        "--matching.checkpoint-every",
        "1",
        "--experts.precision",
        "float32",
        "--matching.precision",
        "float32",
    ],
}


def main() -> int:
    """Work on the unfinished parts for `--seconds`; returns 0 when all are done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="for the tables")
    parser.add_argument("--work", type=Path, default=CARRIED / "run", help="for resumable work")
    parser.add_argument("--data", type=Path, default=CARRIED / "data")
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for a smoke test")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    environment = _environment(options.work)
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    done = True
    for name, command in _parts(options).items():
        seconds = deadline - time.monotonic()
        done = _part(name, command, options.work, environment, seconds) and done
    _collect(options.work, options.out)
    print("done" if done else "not done yet: run it again")
    return 0 if done else 3


def _environment(work: Path) -> dict[str, str]:
    """An environment with decoct on the path, and wheels that were carried along if missing."""
    site = work.resolve() / "site"
    carried = sorted((CARRIED / "wheels").glob("*.whl"))
    wheels = [w for w in carried if importlib.util.find_spec(w.name.partition("-")[0]) is None]
    if wheels and not site.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--target", str(site), *map(str, wheels)], check=True)
    path = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")]), str(site)]
    cache = work.resolve() / "inductor"
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
    }


def _parts(options: argparse.Namespace) -> dict[str, list[str]]:
    """The commands to run, shortest first."""
    python, device = [sys.executable], ["--device", options.device]
    folder = ROOT / "benchmarks"
    precisions = ["float32"] if options.quick else ["float32", "tf32", "bfloat16"]
    large = [
        "--full",
        "--widths",
        "128",
        "--batches",
        "256",
        "--depths",
        "3",
        "--steps",
        "10",
        "40",
    ]
    experts = ["--count", "18880", "--width", "128", "--precision", "tf32"]
    error = ["--width", "128", "--batch", "256", "--steps", "1", "10"]
    quick = (
        QUICK
        if options.quick
        else {"unroll": large, "experts": experts, "pipeline": [], "gradient_error": error}
    )
    error_precisions = ["--precisions", *precisions]
    parts = {
        "unroll": [
            *python,
            str(folder / "unroll.py"),
            *device,
            *quick["unroll"],
            "--precisions",
            *precisions,
            "--most",
            "100",
        ],
        "experts": [*python, str(folder / "experts.py"), *device, *quick["experts"]],
        "gradient_error": [
            *python,
            str(folder / "gradient_error.py"),
            *device,
            *quick["gradient_error"],
            *error_precisions,
        ],
        "graphs": [
            *python,
            str(folder / "unroll.py"),
            *device,
            *quick["unroll"],
            "--graphs",
            "--precisions",
            precisions[-1],
            "--no-memory",
        ],
        "pipeline": [
            *python,
            "-m",
            "decoct",
            "run",
            str(folder / "gpu" / "gpu.yaml"),
            "--data",
            str(options.data),
            "--out",
            str(options.work / "decoct"),
            *device,
            *quick["pipeline"],
        ],
    }
    if options.device == "cpu":
        del parts["graphs"]
    return parts


def _part(
    name: str, command: list[str], work: Path, environment: dict[str, str], seconds: float
) -> bool:
    """Run an unfinished part; True when it is done. Keeps its total seconds over all calls."""
    done, log = work / f"{name}.seconds", work / f"{name}.log"
    if done.exists():
        return True
    if seconds < 20:
        return False
    spent = work / f"{name}.spent"
    before = float(spent.read_text()) if spent.exists() else 0.0
    start = time.monotonic()
    print(f"{name}: {' '.join(command)}", flush=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=work,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=seconds - 15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)  # the stages save their state
            code = process.wait(timeout=15)
    total = before + time.monotonic() - start
    spent.write_text(f"{total:.1f}")
    print("\n".join(log.read_text().splitlines()[-6:]), flush=True)
    if code == 0:
        done.write_text(f"{total:.1f}")
        return True
    print(f"{name}: left with {code} after {total:.0f} s", flush=True)
    return False


def _collect(work: Path, out: Path) -> None:
    """Copy tables, report and distilled set: the parts of a run that are worth keeping."""
    seconds = {p.stem: float(p.read_text()) for p in sorted(work.glob("*.seconds"))}
    parts = [f"| part | seconds |\n| --- | --- |\n{_lines(seconds)}"]
    run = work / "decoct"
    if (run / "run.json").exists():
        content = json.loads((run / "run.json").read_text())
        stages = {name: round(value, 1) for name, value in content["meta"]["seconds"].items()}
        parts.append(f"| stage of the pipeline | seconds |\n| --- | --- |\n{_lines(stages)}")
    for name in ("unroll", "experts", "gradient_error", "graphs", "pipeline"):
        log = work / f"{name}.log"
        if log.exists():
            parts.append(f"## {name}\n\n{log.read_text()}")
    (out / "results.md").write_text("\n\n".join(parts))
    kept = [
        *run.glob("mkdt-seed0-*/distilled.safetensors"),
        run / "report.html",
        run / "scores.json",
    ]
    for file in kept:
        if file.exists():
            shutil.copy(file, out / file.name)


def _lines(values: dict[str, float]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main())
