"""A hostile file is refused in a sentence, in bounded time and memory: tried in a forked child."""

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from decoct.core.errors import DecoctError

_SECONDS, _BYTES = 2.0, 300e6
_PATIENCE = 20  # seconds after which a child that hangs is ended
_LONGEST = 700  # characters of a sentence
_MAXRSS = 1 if sys.platform == "darwin" else 1024  # bytes in what the system calls one


def refusal(read: Callable[[], object]) -> str:
    """The sentence with which a reader refuses; fails unless it does so in bounds."""
    receive, send = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # the child uses none of torch's threads
        child = os.fork()
    if child == 0:
        try:
            os.write(send, json.dumps(_measured(read)).encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    assert answer, f"it hung for {_PATIENCE} seconds, or was killed"
    found = json.loads(answer)
    assert not found["failure"], found["failure"]
    assert found["seconds"] < _SECONDS, f"it took {found['seconds']:.1f} s"
    assert found["bytes"] < _BYTES, f"it took {found['bytes'] / 1e6:.0f} MB"
    assert "\n" not in found["said"] and len(found["said"]) < _LONGEST
    return str(found["said"])


def _measured(read: Callable[[], object]) -> dict[str, Any]:
    signal.alarm(_PATIENCE)
    before, started = _peak(), time.process_time()
    said = failure = ""
    try:
        failure = f"it was taken: {read()}"
    except DecoctError as error:
        said, failure = str(error), ""
    except BaseException:
        failure = traceback.format_exc()
    seconds = time.process_time() - started
    return {"said": said, "failure": failure, "seconds": seconds, "bytes": _peak() - before}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS
