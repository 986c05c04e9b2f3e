"""`torch.compile` where it pays: never in a run too short to earn its price back."""

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch

from decoct.core.console import note

Compile = Literal["auto", "always", "never"]
P = ParamSpec("P")
T = TypeVar("T")

# Multiply-adds of a run above which compiling (half a minute to a minute, once) is paid back: a
# CPU saves 10 to 20 % of a second for every 5e10, a GPU launches far fewer kernels.
_WORTH = {"cpu": 2e13, "cuda": 5e15}


def pays(choice: Compile, *, multiply_adds: float, device: torch.device) -> bool:
    """Whether to compile: asked for, or (`auto`) worth it by the arithmetic alone.

    No clock has a say: the same recipe takes the same path, and so gives the same bits.

    >>> pays("auto", multiply_adds=1e10, device=torch.device("cpu"))
    False
    """
    if choice == "auto":
        return multiply_adds > _WORTH.get(device.type, float("inf"))
    return choice == "always"


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, compiled for each shape it meets; as it is, with a warning, where that fails."""
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
                note(f"torch.compile does not work here, going on without: {reason[0]}")
        return function(*arguments, **options)

    return call
