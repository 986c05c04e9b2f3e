"""One iteration of matching: the plain unroll compared with the sweep, in time, memory and rate.

    python benchmarks/unroll.py                 # minutes: each of T, width, batch, depth varied
    python benchmarks/unroll.py --full          # every combination: hours on a CPU
    python benchmarks/unroll.py --no-compile    # without torch.compile
    python benchmarks/unroll.py --device cuda --precisions float32 tf32 bfloat16

`flat` keeps no tape, `kept` all of them. Rates count the multiplications that were carried out,
times two; the floor divides them by the rate of bare convolutions of the same shapes.
"""

import itertools
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from common import in_turn, machine, peak_resident_bytes, resident_bytes, table
from torch import Tensor

from decoct.core.device import Precision, arithmetic, resolve_device
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.cuda_graph import as_cuda_graph
from decoct.matching.inner_gradient import InnerGradient, distillation_loss
from decoct.matching.unroll import matching_gradient, matching_gradient_reference
from decoct.models.convnet import convnet

# Convolutions (first block, others): the first block's input gradient is only for the images.
_FLAT, _KEPT, _PLAIN = (7, 11), (6, 9), (6, 9)


@dataclass(frozen=True)
class Case:
    """One shape of the problem."""

    steps: int = 10
    width: int = 64
    batch: int = 64
    depth: int = 3
    size: int = 32
    outputs: int = 512

    def __str__(self) -> str:
        return f"{self.steps} | {self.width} | {self.batch} | {self.depth} | {self.size}"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    full: bool = False
    steps: tuple[int, ...] = (5, 10, 20, 40, 80)
    widths: tuple[int, ...] = (32, 64, 128)
    batches: tuple[int, ...] = (64, 256)
    depths: tuple[int, ...] = (3, 4)
    repeats: int = 3
    device: str = "cpu"
    compile: bool = True
    memory: bool = True  # peaks, each measured in its own process
    most: float = 12.0  # GB: a plain unroll that would take more is skipped
    precisions: tuple[Precision, ...] = ("float32",)
    graphs: bool = False  # on CUDA, also with each iteration as one graph

    def cases(self) -> list[Case]:
        """Every combination, or one thing varied at a time."""
        if self.full:
            shapes = itertools.product(self.steps, self.widths, self.batches, self.depths)
            return [Case(t, w, b, d, size=8 * 2 ** (d - 1)) for t, w, b, d in shapes]
        base = Case()
        found = [replace(base, steps=t) for t in self.steps]
        found += [replace(base, width=w) for w in self.widths]
        found += [replace(base, batch=b) for b in self.batches]
        found += [replace(base, depth=d, size=8 * 2 ** (d - 1)) for d in self.depths]
        return list(dict.fromkeys(found))


def problem(case: Case, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """A network, and the arguments of both implementations of its matching gradient."""
    torch.manual_seed(0)
    network = convnet(size=case.size, outputs=case.outputs, width=case.width, depth=case.depth)
    start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    count = 2 * case.batch
    arguments = {
        "start": start,
        "goal": start + 0.01 * torch.randn_like(start),
        "images": torch.randn(count, 3, case.size, case.size),
        "targets": torch.randn(count, case.outputs),
        "lr": torch.tensor(0.05),
    }
    batches = [torch.randperm(count)[: case.batch].to(device) for _ in range(case.steps)]
    tensors = {name: tensor.to(device) for name, tensor in arguments.items()}
    return network.to(device), {**tensors, "batches": batches}


def contenders(
    case: Case,
    device: torch.device,
    *,
    compile: bool,
    dtype: torch.dtype | None,
    plain: bool,
    graphs: bool = False,
) -> dict[str, Callable[[], Any]]:
    """The implementations of one iteration, by name."""
    network, arguments = problem(case, device)
    inner = InnerGradient.by_hand(ConvNetGradient(network, dtype=dtype))
    ways: dict[str, Callable[[], Any]] = {}
    if plain:
        loss = distillation_loss(network)
        ways["plain"] = lambda: matching_gradient_reference(loss, **arguments)
    variants = {"": inner, " compiled": inner.compiled()} if compile else {"": inner}
    for suffix, variant in variants.items():
        for name, kept in (("flat", 0), ("kept", case.steps)):
            ways[name + suffix] = lambda i=variant, k=kept: matching_gradient(  # type: ignore[misc]
                i, **arguments, kept_tapes=k
            )
            if graphs:
                ways[f"{name}{suffix}, graph"] = _replayed(variant, arguments, kept)
    return ways


def _replayed(inner: InnerGradient, arguments: dict[str, Any], kept: int) -> Callable[[], Any]:
    return partial(as_cuda_graph(partial(matching_gradient, inner, kept_tapes=kept)), **arguments)


def operations(case: Case, work: tuple[int, int]) -> float:
    """Floating-point operations of an iteration: convolutions, with the head as one more block."""
    first, later = work
    network = convnet(size=case.size, outputs=case.outputs, width=case.width, depth=case.depth)
    blocks = ConvNetGradient(network).multiply_adds(case.batch, case.size)
    head = case.batch * network.feature_count * case.outputs
    return 2.0 * case.steps * (first * blocks[0] + later * (sum(blocks[1:]) + head))


def bare_rates(case: Case, device: torch.device) -> tuple[float, float]:
    """Operations per second of a large matrix product, and of the case's convolutions (forward)."""
    a = torch.randn(2048, 2048, device=device)
    found = in_turn({"product": lambda: a @ a}, repeats=9, device=device)
    product = 2 * 2048**3 / found["product"]
    layers: list[tuple[Tensor, Tensor]] = []
    size, channels = case.size, 3
    for _ in range(case.depth):
        x = torch.randn(case.batch, channels, size, size, device=device)
        weight = torch.randn(case.width, channels, 3, 3, device=device)
        layers.append(tuple(t.contiguous(memory_format=torch.channels_last) for t in (x, weight)))  # type: ignore[arg-type]
        size, channels = size // 2, case.width

    def all_layers() -> None:
        for x, weight in layers:
            F.conv2d(x, weight, padding=1)

    seconds = in_turn({"convolutions": all_layers}, repeats=9, device=device)["convolutions"]
    done = sum(2 * x.shape[0] * x.shape[2] * x.shape[3] * weight.numel() for x, weight in layers)
    return product, done / seconds


def peak_bytes(case: Case, name: str, device: torch.device, compile: bool) -> int:
    """Peak bytes of the second call, in addition to what was allocated before the first."""
    call = contenders(case, device, compile=compile, dtype=None, plain=True)[name]
    if device.type == "cuda":
        call()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    before = resident_bytes()
    call()
    return peak_resident_bytes() - before


def apart(case: Case, name: str, device: torch.device, compile: bool) -> int:
    """`peak_bytes` in its own process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_bytes, (case, name, device, compile))


def plain_bytes(case: Case) -> float:
    """Estimated memory of the plain unroll: six tensors of every layer's size per step."""
    pixels = sum((case.size >> i) ** 2 for i in range(case.depth))
    return 6.0 * 4 * case.steps * case.batch * case.width * pixels


def main(options: Options) -> None:
    """Print the tables."""
    device = resolve_device(options.device)
    print(machine(device) + "\n", flush=True)
    for precision in options.precisions:
        with arithmetic(precision) as dtype:
            print(f"### Time, {precision}\n")
            times(options, device, dtype)
    if options.memory:
        print("\n### Peak memory above the model's and the data's own, MB\n")
        memory(options, device)


def times(options: Options, device: torch.device, dtype: torch.dtype | None) -> None:
    """Seconds and rates by case; each line is printed as soon as it is known."""
    names = ["flat", "kept"] + (["flat compiled", "kept compiled"] if options.compile else [])
    names += [f"{name}, graph" for name in names] if options.graphs else []
    header = ["T", "width", "batch", "depth", "px", "plain s"]
    header += [f"{n} / plain" for n in names] + ["product GFLOP/s", "convolutions GFLOP/s"]
    header += [f"{n}: rate / convolutions" for n in ["plain", *names]]
    print(table(header, []), flush=True)
    for case in options.cases():
        plain = plain_bytes(case) < options.most * 1e9
        ways = contenders(
            case, device, compile=options.compile, dtype=dtype, plain=plain, graphs=options.graphs
        )
        seconds = in_turn(ways, repeats=options.repeats, device=device)
        product, bare = bare_rates(case, device)
        shares = []
        for name in ["plain", *names]:
            work = _PLAIN if name == "plain" else _FLAT if name.startswith("flat") else _KEPT
            shares.append(
                f"{operations(case, work) / seconds[name] / bare:.2f}" if name in seconds else ""
            )
        base = seconds.get("plain")
        ratios = [f"{seconds[n] / base:.2f}" if base else f"{seconds[n]:.3f} s" for n in names]
        first = f"{base:.3f}" if base else f"over {options.most:g} GB"
        cells = [first, *ratios, f"{product / 1e9:.0f}", f"{bare / 1e9:.0f}", *shares]
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)


def memory(options: Options, device: torch.device) -> None:
    """Peak bytes by T at each width."""
    names = ["plain", "flat", "kept"] + (["flat compiled"] if options.compile else [])
    print(table(["T", "width", "batch", "depth", "px", *names], []), flush=True)
    for width, steps in itertools.product(options.widths[-2:], options.steps):
        case = Case(steps=steps, width=width)
        cells = []
        for name in names:
            fits = name != "plain" or plain_bytes(case) < options.most * 1e9
            found = apart(case, name, device, options.compile) if fits else None
            cells.append("too much" if found is None else f"{found / 1e6:.0f}")
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
