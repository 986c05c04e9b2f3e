"""Try something in a process of its own, and measure what it takes."""

import os
import pickle
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from decoct.core.errors import DecoctError

SECONDS, BYTES = 2.0, 300_000_000  # that a refusal may take
_NET = 8 * BYTES  # address space at most, so that a failure does not take the machine down


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt."""

    refusal: str  # the sentence; empty if there was none
    other: str  # another exception
    seconds: float  # of the processor
    bytes: int  # at most at any time, beyond what there was


def attempt(action: Callable[[], object]) -> Outcome:
    """Do it in a fork of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(_measured(action), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    found: Outcome = pickle.loads(content)
    return found


def _measured(action: Callable[[], object]) -> Outcome:
    limit = _status("VmSize") + _NET
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    base, before = _status("VmRSS"), _processor()
    refusal = other = ""
    try:
        action()
    except DecoctError as error:
        refusal = str(error)
    except BaseException as error:
        other = repr(error)
    return Outcome(refusal, other, _processor() - before, _status("VmHWM") - base)


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
