"""A process that `--devices` has started with others: it ends with its launcher, which speaks."""

import os
import threading
import time

_NAME = "decoct-"  # of a launch, before the number of the launcher's process
_EVERY_S = 1.0


def launch_name() -> str:
    """What torch's launcher calls a launch by this process; it tells the processes that name."""
    return f"{_NAME}{os.getpid()}"


def launcher() -> int | None:
    """The process that has started this one by `--devices`; None if there is none."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    number = name.removeprefix(_NAME)
    return int(number) if name.startswith(_NAME) and number.isdecimal() else None


def is_silent() -> bool:
    """Whether another process says that all of them stop."""
    return launcher() is not None or os.environ.get("RANK", "0") != "0"


def end_with_launcher() -> None:
    """From now on this process ends as soon as its launcher is gone, however that has ended."""
    parent = launcher()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY_S)
    os._exit(1)  # files are whole or absent
