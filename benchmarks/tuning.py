"""Which optimisations measurably help on a CPU: layout, malloc, threads, compiling, bfloat16.

    python benchmarks/tuning.py
    python benchmarks/tuning.py --width 128

Each variant of one iteration (flat in T) has its own process; they are called alternately.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import tyro
from common import in_turn, machine, table
from torch import Tensor
from unroll import Case, problem

from decoct.core.device import raise_malloc_thresholds
from decoct.matching import convnet_gradient
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.unroll import matching_gradient


@dataclass(frozen=True)
class Options:
    """The shape of the problem."""

    steps: int = 10
    width: int = 64
    batch: int = 64
    repeats: int = 5


@dataclass(frozen=True)
class Variant:
    """One way to run the same iteration."""

    malloc: bool = True  # thresholds raised
    threads: int = 0  # 0: torch's own choice
    innermost: bool = True  # channels
    compile: bool = False
    dtype: torch.dtype | None = None


VARIANTS = {
    "as it is": Variant(),
    "malloc as it comes": Variant(malloc=False),
    "one thread": Variant(threads=1),
    "channels first": Variant(innermost=False),
    "bfloat16 convolutions": Variant(dtype=torch.bfloat16),
    "compiled": Variant(compile=True),
    "compiled, channels first": Variant(compile=True, innermost=False),
    "compiled, malloc as it comes": Variant(compile=True, malloc=False),
}

_call: Callable[[], Any]  # of a variant's own process


def prepare(case: Case, variant: Variant) -> None:
    """Set a process up for its variant."""
    global _call
    if variant.malloc:
        raise_malloc_thresholds()
    if variant.threads:
        torch.set_num_threads(variant.threads)
    if not variant.innermost:
        convnet_gradient._innermost = _as_it_is
    network, arguments = problem(case, torch.device("cpu"))
    inner = InnerGradient.by_hand(ConvNetGradient(network, dtype=variant.dtype))
    _call = partial(matching_gradient, inner.compiled() if variant.compile else inner, **arguments)


def _as_it_is(x: Tensor) -> Tensor:
    return x.contiguous()


def iterate() -> None:
    """One iteration of this process's variant."""
    _call()


def seconds_to_compile(case: Case) -> float:
    """Extra time of the first iteration over the second, with an empty compiler cache."""
    prepare(case, Variant(compile=True))
    times = []
    for _ in range(2):
        start = time.perf_counter()
        _call()
        times.append(time.perf_counter() - start)
    return times[0] - times[1]


def main(options: Options) -> None:
    """Print the table."""
    case = Case(steps=options.steps, width=options.width, batch=options.batch)
    print(machine(torch.device("cpu")) + f"\n\n{case}: T, width, batch, depth, px\n")
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as cache,
        spawn.Pool(1, _empty_cache, (cache,)) as pool,
    ):
        compiling = pool.apply(seconds_to_compile, (case,))
    pools = {name: spawn.Pool(1, prepare, (case, v)) for name, v in VARIANTS.items()}
    ways: dict[str, Callable[[], Any]] = {
        name: partial(pool.apply, iterate) for name, pool in pools.items()
    }
    seconds = in_turn(ways, repeats=options.repeats, device=torch.device("cpu"))
    for pool in pools.values():
        pool.terminate()
    base = seconds["as it is"]
    rows = [[name, f"{value:.3f}", f"{value / base:.2f}"] for name, value in seconds.items()]
    print(table(["", "seconds", "ratio"], rows))
    print(f"\nCompiling takes {compiling:.0f} s with an empty cache.")


def _empty_cache(folder: str) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
