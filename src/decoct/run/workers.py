"""`Workers`: processes that make a run's stages side by side, each as soon as its inputs exist."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from decoct.core.console import console, progress
from decoct.core.errors import DecoctError
from decoct.run.lock import work_for_owner
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """A call for a worker: of a module's function, after the jobs that it needs."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs: frozenset[str] = frozenset()  # names of other jobs


@dataclass(frozen=True)
class Workers:
    """Processes that are kept while there may be more to do."""

    pool: ProcessPoolExecutor

    def do(self, jobs: Mapping[str, Job], *, label: str) -> dict[str, Any]:
        """The results of named jobs; the first error of one is raised, and ends all others."""
        sorter = TopologicalSorter({name: job.needs & jobs.keys() for name, job in jobs.items()})
        sorter.prepare()
        running: dict[Future[Any], str] = {}
        results: dict[str, Any] = {}
        with progress(label, total=len(jobs)) as advance:
            while sorter.is_active():
                for name in sorter.get_ready():
                    running[self._submit(jobs[name])] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    results[name] = future.result()
                    sorter.done(name)
                    advance("")
        return results

    def _submit(self, job: Job) -> Future[Any]:
        with _held_back():
            return self.pool.submit(job.function, *job.arguments)


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """`count` processes, which share the machine's cores evenly and end with the block."""
    if count < 1:
        raise DecoctError(f"--jobs {count}: give 1 or more processes")
    threads = max(1, torch.get_num_threads() // count)
    others = set(multiprocessing.active_children())  # of whoever calls us
    pool = ProcessPoolExecutor(count, _context(), initializer=_start, initargs=(threads,))
    try:
        yield Workers(pool)
    except BrokenProcessPool as error:
        raise DecoctError(
            f"one of {count} processes was killed, perhaps for lack of memory; the same command "
            "continues, with fewer --jobs if need be"
        ) from error
    except BaseException:  # also Ctrl-C; stages keep their checkpoints
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def stage_jobs(run: Run, names: Iterable[str]) -> dict[str, Job]:
    """A job for each stage of a run that `names` are made from and that is kept, by its key."""
    kept = run.graph.kept(names)
    keys = {name: f"{name}-{run.graph.key(name)}" for name in kept}
    return {
        keys[name]: Job(
            make_stage, (run.recipe, run.folder, name), frozenset(keys[need] for need in needs)
        )
        for name, needs in kept.items()
    }


def make_stage(recipe: Recipe, folder: Path, name: str) -> None:
    """Make a stage, unless the folder has it."""
    run_in_worker(recipe, folder).get(name)


_last: Run | None = None  # this process's, whose data the next one shares


def run_in_worker(recipe: Recipe, folder: Path) -> Run:
    """A run that shares its pool and tasks with the last one of this process, if they are equal."""
    global _last
    alike = _last if _last and _data_of(_last.recipe) == _data_of(recipe) else None
    _last = Run(recipe, folder, alike=alike)
    return _last


def _data_of(recipe: Recipe) -> tuple[object, ...]:
    return (recipe.data, recipe.images, recipe.compare.tasks)


def _context() -> multiprocessing.context.BaseContext:
    """How processes begin; forked from this one, they could not use CUDA.

    On Linux a server that has only imported torch, for seconds, forks them all.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload(["torch._dynamo", __name__])
    return context


@contextmanager
def _held_back() -> Iterator[None]:
    """Processes begun inside the block never get what a terminal sends to all of a command's.

    From their first moment, while they import, too. Their parent hears it, and ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(threads: int) -> None:
    """Set up a worker: its share of the cores; it is silent, and does not outlive its parent."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    console.quiet = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where they cannot be held back
    work_for_owner()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
