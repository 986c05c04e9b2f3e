"""What the user sees during a run: progress with the time left, and notes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from decoct.core.printable import one_line, printable

console = Console(stderr=True, highlight=False, markup=False, emoji=False)
_LINE_EVERY_S = 20.0  # without a terminal: print a line this often instead of drawing a bar

Advance = Callable[[str], None]
_rank = 0  # of this process, among those that make a run together


def speak_as(rank: int) -> None:
    """Say in notes which rank this process is, and show no progress, unless it is the first."""
    global _rank
    _rank = rank


def note(text: str) -> None:
    """Print one line to standard error; control characters in it are escaped."""
    console.print(printable(f"rank {_rank}: {text}" if _rank else text), soft_wrap=True)


@contextmanager
def progress(description: str, *, total: int, done: int = 0) -> Iterator[Advance]:
    """A progress bar with the time left; yields a function that advances it by one.

    `done` counts the steps that an earlier, interrupted run has already finished.

    >>> with progress("steps", total=2) as advance:
    ...     advance("loss 0.5")
    ...     advance("")
    """
    if _rank:
        yield lambda info: None
    elif console.is_terminal:
        yield from _bar(description, total, done)
    else:
        yield from _lines(description, total, done)


def _bar(description: str, total: int, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[info]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(one_line(description), total=total, completed=done, info="")
        yield lambda info: bar.update(task, advance=1, info=one_line(info))


def _lines(description: str, total: int, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    count = done

    def advance(info: str) -> None:
        nonlocal last, count
        count += 1
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            last = now
            left = (now - start) / (count - done) * (total - count)
            note(f"{description}: {count}/{total}, {_duration(left)} left  {info}")

    yield advance


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
