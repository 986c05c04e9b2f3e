"""Requests to stop: Ctrl-C, SIGTERM, and SIGHUP when the terminal is closed."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from decoct.core.errors import Terminated
from decoct.launched import is_silent

_CONTINUES = "the same command continues from here"
_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "its terminal was closed"}
_asked: signal.Signals | None = None  # the request that is being followed
_heard_by_another = False  # SIGTERM, which then is nothing that this process follows


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block a request to stop is an exception, so that all is left in order.

    A second request ends the process at once, which is safe: files are whole or absent. Ctrl-C
    where a shell ignores it (for what a script runs in the background) and SIGHUP under `nohup`
    stay ignored.
    """
    global _asked
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    _asked = None
    before = {number: signal.getsignal(number) for number in heard()}
    for number in before:
        signal.signal(number, _stop)
    ignored, sys.unraisablehook = sys.unraisablehook, _come_again
    try:
        yield
    except BaseException:
        if _asked:  # whatever else failed on the way out
            raise _exception(_asked) from None
        raise
    finally:
        sys.unraisablehook = ignored
        if not _asked:  # else a second request may come until the process has ended
            for number, handler in before.items():
                signal.signal(number, handler)


def ask_to_stop() -> None:
    """As a SIGTERM to this process does, but never a second request: that would end it at once."""
    if not _asked:
        signal.raise_signal(signal.SIGTERM)


def leave_sigterm(to: Callable[[int, object], None]) -> None:
    """From now on SIGTERM only calls `to`, and stops nothing.

    Blocking it would not do: of a process with several threads, another one would get it.
    """
    global _heard_by_another
    _heard_by_another = True
    signal.signal(signal.SIGTERM, to)


def stopped(error: KeyboardInterrupt | Terminated) -> int:
    """Say that the process stops as it was asked to; returns the exit status.

    Of processes that were started together, one says it for all.
    """
    number = error.args[0] if isinstance(error, Terminated) else signal.SIGINT
    said = "" if is_silent() else f"decoct: {_WORDS[number.name]}; {_CONTINUES}\n"
    for stream, text in ((sys.stdout, ""), (sys.stderr, said)):
        try:
            print(text, end="", file=stream, flush=True)
        except OSError:  # the terminal is gone, and nobody reads what is left
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 128 + int(number)


def heard() -> Iterator[signal.Signals]:
    """The requests to stop that this process follows."""
    for name in _WORDS:
        if name == "SIGTERM" and _heard_by_another:
            continue
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        ignored = number is not None and signal.getsignal(number) == signal.SIG_IGN
        if number is not None and (name == "SIGTERM" or not ignored):
            yield number


def _stop(number: int, frame: object) -> None:
    global _asked
    if _asked:
        _end(number)
    _asked = signal.Signals(number)
    raise _exception(_asked)


def _exception(request: signal.Signals) -> KeyboardInterrupt | Terminated:
    return KeyboardInterrupt() if request == signal.SIGINT else Terminated(request)


def _come_again(ignored: "sys.UnraisableHookArgs") -> None:
    """A request that comes where Python ignores exceptions, as in a finaliser, comes again."""
    global _asked
    if _asked and isinstance(ignored.exc_value, KeyboardInterrupt | Terminated):
        request, _asked = _asked, None
        threading.Timer(0.05, os.kill, (os.getpid(), request)).start()
    else:
        sys.__unraisablehook__(ignored)


def _end(number: int) -> NoReturn:
    """End at once; `print` might be what the request has interrupted."""
    shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides the cursor
    said = b"" if is_silent() else f"decoct: ended at once; {_CONTINUES}\n".encode()
    with suppress(OSError):
        os.write(2, shown + said)
    os._exit(128 + number)
