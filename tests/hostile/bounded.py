"""Work on a hostile file in a process of its own: what came of it, in which time and memory."""

import json
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from typing import NamedTuple

from decoct.core.errors import DecoctError

_HANGS_S = 20


class Outcome(NamedTuple):
    said: str  # what the work returned, or the sentence by which it was refused
    seconds: float
    megabytes: float  # above what the process had before


def bounded(work: Callable[[], str]) -> Outcome:
    """Do it in a fork; anything but a result or a `DecoctError` fails the test."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
        child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(_HANGS_S)
        os.write(writing, json.dumps(_measured(work)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert answer, f"the process ended with status {status}: it was killed, or hung"
    error, *outcome = json.loads(answer)
    assert not error, error
    return Outcome(*outcome)


def _measured(work: Callable[[], str]) -> tuple[str, str, float, float]:
    before, start, said, error = peak_memory(), time.monotonic(), "", ""
    try:
        said = work()
    except DecoctError as refusal:
        said = str(refusal)
    except BaseException:
        error = traceback.format_exc()
    return error[-3000:], said, time.monotonic() - start, peak_memory() - before


def peak_memory() -> float:
    """The most memory that this process had at a time, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
