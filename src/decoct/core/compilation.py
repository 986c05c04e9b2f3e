"""`torch.compile` where it pays off: never in a run too short to recover the compile time."""

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch

from decoct.core.console import note

Compile = Literal["auto", "always", "never"]
P = ParamSpec("P")
T = TypeVar("T")

# Above this many multiply-adds, a run recovers the compile time (half a minute to a minute, once):
# a CPU saves 10 to 20 % of a second for every 5e10, and a GPU launches far fewer kernels.
_WORTH = {"cpu": 2e13, "cuda": 5e15}


def pays(choice: Compile, *, multiply_adds: float, device: torch.device) -> bool:
    """Whether to compile: because the user asked for it or, with `auto`, if the run is long enough.

    Nothing is timed, so the same recipe always takes the same path and gives the same bits.

    >>> pays("auto", multiply_adds=1e10, device=torch.device("cpu"))
    False
    """
    if choice == "auto":
        return multiply_adds > _WORTH.get(device.type, float("inf"))
    return choice == "always"


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, compiled for each shape it meets; if that fails, warn and run it uncompiled."""
    fast, works, told = torch.compile(function, dynamic=False), True, False

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        nonlocal works, told
        if works:
            if not told:
                told = True
                note(f"compiling {function.__name__}: up to half a minute, once")
            try:
                return fast(*arguments, **options)
            except (RuntimeError, ImportError, OSError) as error:
                works = False
                reason = str(error).strip().splitlines() or [type(error).__name__]
                note(f"torch.compile does not work here; continuing without it: {reason[0]}")
        return function(*arguments, **options)

    return call
