"""`--devices N`: start N processes of the same command on this machine, and end as they end."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from decoct.core import ranks
from decoct.core.device import resolve_device
from decoct.core.errors import DecoctError, Terminated
from decoct.flags import Call
from decoct.launched import launch_name
from decoct.run.doctor import cores
from decoct.stopping import heard

_SAVES_S = 600  # how long processes may take to save when all are asked to stop


def launched(call: Call, command: Sequence[str]) -> bool:
    """Start as many processes of a command as `--devices` says, and wait for them.

    Returns whether there were any to start. Ends this process if they do not all succeed, and
    raises what a single process would if it is asked to stop.
    """
    count = call.flags.devices
    divided = ranks.started_together() or count > 1 or getattr(call.flags, "jobs", 1) > 1
    if getattr(call.flags, "share", False) and divided:
        raise DecoctError(
            "--share divides the work by itself: start the command once for each device, without "
            "--devices and --jobs"
        )
    if count == 1:
        return False
    if ranks.started_together():
        raise DecoctError(
            f"--devices {count} starts processes, but this one was already started with others; "
            "leave out --devices"
        )
    if getattr(call.flags, "jobs", 1) != 1:
        raise DecoctError("--devices and --jobs both divide the work; give one of the two")
    check_devices(call.recipe.device, count)
    _launch(_without_devices(command), count)
    return True


def check_devices(name: str, count: int) -> None:
    """Raise `DecoctError` unless this machine has so many devices of the kind that `name` is."""
    device = resolve_device(name)
    if device.index is not None:
        raise DecoctError(
            f"device is {name}, but --devices {count} takes that many GPUs; use --device cuda"
        )
    found, kind = {
        "cuda": (torch.cuda.device_count(), "GPU"),
        "cpu": (cores(), "CPU core"),
        "mps": (1, "GPU"),
    }[device.type]
    if count > found:
        fewer = f"--devices {found}" if found > 1 else "no --devices"
        raise DecoctError(
            f"--devices {count}: this machine has {found} {kind}{'s' * (found > 1)}; use {fewer}"
        )


def _without_devices(command: Sequence[str]) -> list[str]:
    """The command of each process.

    >>> _without_devices(["run", "demo", "--devices", "2", "--seed=1", "--devices=2"])
    ['run', 'demo', '--seed=1']
    """
    words = iter(command)
    kept = []
    for word in words:
        if word == "--devices":
            next(words, None)
        elif not word.startswith("--devices="):
            kept.append(word)
    return kept


def _launch(command: Sequence[str], count: int) -> None:
    # Before they start, as libraries read it when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // count))
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(_SAVES_S)
    logging.disable()  # torch's launcher tells of every process that it ends
    python = [] if _finds_modules_here() else ["-P"]
    words = [word.replace("$", "$$") for word in (*python, "-m", "decoct", *command)]
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=launch_name(),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(number.name for number in heard()),
        )
        try:
            elastic_launch(config, sys.executable)(*words)
        except ChildFailedError as error:
            _end_as(error.failures)
        except SignalException as request:
            _stop(request.sigval)


def _finds_modules_here() -> bool:
    """Whether Python looks for modules in the current folder, as for `python -m decoct`."""
    return not {"", str(Path.cwd())}.isdisjoint(sys.path)


def _end_as(failures: dict[int, ProcessFailure]) -> NoReturn:
    """End as the process did that was the first to fail; it has said why, unless it was killed."""
    began = min(failure.timestamp for failure in failures.values())
    first = {rank: f.exitcode for rank, f in failures.items() if f.timestamp == began}
    for rank, status in first.items():
        if status < 0 and (number := signal.Signals(-status)) not in heard():
            why = ", perhaps for lack of memory" if number == signal.SIGKILL else ""
            raise DecoctError(
                f"rank {rank} was ended by {number.name}{why}; the same command continues, with "
                "any number of --devices"
            )
    # One that failed by itself, rather than one that was then asked to stop, in the same second.
    status = min(first.values(), key=lambda status: (status not in (1, 2), abs(status)))
    if status < 0 or status > 128:
        _stop(signal.Signals(status - 128 if status > 0 else -status))
    sys.exit(status)


def _stop(request: Any) -> NoReturn:
    raise KeyboardInterrupt if request == signal.SIGINT else Terminated(request)
