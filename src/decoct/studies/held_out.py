"""The error on pool images held out: what settings are chosen by, without a task or a label."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from decoct.artefacts.encoder import Encoder
from decoct.core import storage
from decoct.core.errors import DivergedError
from decoct.core.forms import typed, understood
from decoct.evaluation.target_probe import target_probe_error
from decoct.run.lock import lock_folder
from decoct.run.method_stages import encoder_of
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.run.workers import Job, run_in_worker, stage_jobs, workers


def error_key(run: Run, method: str, seed: int) -> str:
    """The digest of all that the error of a method's encoder depends on."""
    graph = run.graph
    names = (encoder_of(method, seed), "targets", "split")
    return storage.digest(*map(graph.key, names))


def held_out_error(run: Run, encoder: Encoder) -> float:
    """The target-probe error of an encoder on the images that a run holds out."""
    return target_probe_error(
        encoder=encoder,
        images=run.pool,
        targets=run.pool_targets,
        known=run.split[0],
        left_out=run.split[1],
        device=run.device,
    )


def kept_error(run: Run, method: str, seed: int) -> float:
    """The error of a method's encoder, which is trained for that alone; inf if it diverged.

    The run's folder keeps the error, but not the encoder.
    """

    def make(path: Path) -> None:
        try:
            error = held_out_error(run, run.pretrained(method, seed))
        except DivergedError:
            error = None
        storage.save_json(path, {"error": error}, kind="target-probe")

    path = run.stages.artefact(
        f"error-{method}-seed{seed}",
        error_key(run, method, seed),
        file="error.json",
        kind="target-probe",
        make=make,
    )
    error = read_error(path)
    return math.inf if error is None else error


def read_error(path: Path, *, kind: str = "target-probe") -> float | None:
    """The target-probe error of one encoder, from its file; None if training diverged."""
    with understood(path):
        found: float | None = typed(storage.load_json(path, kind=kind)["error"], float | None)
        return found


def kept_error_in_worker(recipe: Recipe, folder: Path, method: str, seed: int) -> float:
    """As `kept_error`, in a worker."""
    return kept_error(run_in_worker(recipe, folder), method, seed)


def error_jobs(
    run: Run, method: str, seed: int, *, find: Callable[..., Any] = kept_error_in_worker
) -> dict[str, Job]:
    """Jobs by name: for what an encoder is made from, and for its error, by the error's key.

    A worker calls `find` with the recipe, the folder, the method and the seed.
    """
    encoder = run.graph.stage(encoder_of(method, seed))
    needed = stage_jobs(run, encoder.inputs)
    error = Job(find, (run.recipe, run.folder, method, seed), frozenset(needed))
    return {**needed, error_key(run, method, seed): error}


def find_errors(
    wanted: Iterable[tuple[Run, str, int]], *, folder: Path, jobs: int, label: str
) -> None:
    """Find the errors of runs, methods and seeds in several processes; `kept_error` reads them."""
    found: dict[str, Job] = {}
    for run, method, seed in wanted:
        found |= error_jobs(run, method, seed)
    with lock_folder(folder), workers(jobs) as pool:
        pool.do(found, label=f"{label}, side by side")
