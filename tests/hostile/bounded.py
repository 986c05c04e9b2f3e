"""Work on a hostile file in a process of its own: what came of it, in which time and memory."""

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from decoct.core.errors import DecoctError

SECONDS, MEGABYTES = 2.0, 300.0  # that a refusal may take
_HANGS_S = 20
_MAY_RESERVE = 3_000_000_000  # bytes, so that a failure does not take the machine down
_LONGEST = 700  # characters of a sentence
_MAXRSS = 1 if sys.platform == "darwin" else 1024  # bytes in what the system calls one


class Outcome(NamedTuple):
    said: str  # what the work returned, or the sentence by which it was refused
    refused: bool
    seconds: float  # of the processor
    megabytes: float  # above what the process had before


def refusal(work: Callable[[], object]) -> str:
    """The sentence by which it is refused; fails unless that is one, in bounds."""
    found = bounded(work)
    assert found.refused, f"it was taken: {found.said}"
    assert found.seconds < SECONDS
    assert found.megabytes < MEGABYTES
    assert "\n" not in found.said and len(found.said) < _LONGEST
    return found.said


def bounded(work: Callable[[], object]) -> Outcome:
    """Do it in a fork; anything but a result or a `DecoctError` fails the test."""
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # newer Pythons warn of forks beside threads
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            signal.alarm(_HANGS_S)
            with os.fdopen(writing, "w") as pipe:
                json.dump(_measured(work), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        answer = answers.read()
    _, status = os.waitpid(child, 0)
    assert answer, f"the process ended with status {status}: it was killed, or hung"
    failure, outcome = json.loads(answer)
    assert not failure, failure
    return Outcome(*outcome)


def _measured(work: Callable[[], object]) -> tuple[str, Outcome]:
    before, started = _start_measuring(), time.process_time()
    said, refused, failure = "", False, ""
    try:
        said = str(work())
    except DecoctError as error:
        said, refused = str(error), True
    except BaseException:
        failure = traceback.format_exc()
    seconds = time.process_time() - started
    return failure, Outcome(said, refused, seconds, (peak() - before) / 1e6)


def _start_measuring() -> int:
    """Forget the peak of memory so far, where the system can; returns what is taken now."""
    if sys.platform == "linux":
        limit = 4096 * int(Path("/proc/self/statm").read_text().split()[0]) + _MAY_RESERVE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most memory that was taken at a time, in bytes."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS
