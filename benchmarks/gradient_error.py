"""The error of the float32 matching gradient compared with float64, and where it comes from.

    python benchmarks/gradient_error.py
    python benchmarks/gradient_error.py --device cuda --precisions float32 tf32 bfloat16

The gradient jumps where a ReLU's input crosses zero: a rounding error that moves one input across
zero causes a much larger error. So each implementation is compared twice: with the exact gradient,
and with the float64 gradient whose ReLUs are open where the implementation's own were (`held`).
Crossings are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import tyro
from common import machine, table
from torch import Tensor, nn
from unroll import Case, problem

from decoct.core.device import Precision, arithmetic, resolve_device
from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.inner_gradient import InnerGradient, distillation_loss
from decoct.matching.unroll import (
    MatchingGradient,
    matching_gradient,
    matching_gradient_reference,
    train,
)
from decoct.models.network import Network


@dataclass(frozen=True)
class Options:
    """What to measure."""

    steps: tuple[int, ...] = (1, 2, 5, 10, 20)
    width: int = 64
    batch: int = 64
    compile: bool = True
    device: str = "cpu"
    precisions: tuple[Precision, ...] = ("float32",)


class Held(nn.Module):
    """Replaces a ReLU: open where the mask says so."""

    def __init__(self, masks: Iterator[Tensor]) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        """Zero where the next mask is false."""
        return x * next(self.masks)


def plain_gradient(
    network: Network, arguments: dict[str, Any]
) -> tuple[MatchingGradient, list[Tensor]]:
    """The whole unroll's gradient, and for every step and block where the ReLU was open."""
    masks: list[Tensor] = []
    hooks = [
        m.register_forward_pre_hook(lambda _, inputs: masks.append(inputs[0].detach() > 0))
        for m in network.modules()
        if isinstance(m, nn.ReLU)
    ]
    found = matching_gradient_reference(distillation_loss(network), **arguments)
    for hook in hooks:
        hook.remove()
    return found, masks


def our_gradient(
    network: Network, inner: InnerGradient, arguments: dict[str, Any]
) -> tuple[MatchingGradient, list[Tensor]]:
    """The sweep's gradient and the same masks, from the tape of each step."""
    masks: list[Tensor] = []
    for t, index in enumerate(arguments["batches"]):
        theta = train(
            inner,
            start=arguments["start"],
            images=arguments["images"],
            lr=arguments["lr"],
            targets=arguments["targets"],
            batches=arguments["batches"][:t],
        )
        with torch.no_grad():
            images, targets = arguments["images"][index], arguments["targets"][index]
            tape = inner.with_tape(theta, images, targets)[2]
            torch.nn.utils.vector_to_parameters(theta, network.parameters())
            norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
            masks += [
                torch.addcmul(_per_channel(n.bias), block.z, _per_channel(n.weight)) > 0
                for n, block in zip(norms, tape.blocks, strict=True)
            ]
    return matching_gradient(inner, **arguments), masks


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def held_gradient(network: Network, arguments: dict[str, Any], masks: list[Tensor]) -> Any:
    """The float64 gradient with the ReLUs held."""
    order = iter(masks)
    body = nn.Sequential(
        *(Held(order) if isinstance(m, nn.ReLU) else m for m in network.body.children())
    )
    network.body, before = body, network.body
    try:
        return matching_gradient_reference(distillation_loss(network), **arguments)
    finally:
        network.body = before


def error(found: MatchingGradient, exact: MatchingGradient) -> float:
    """The relative error of the images' gradient."""
    difference = found.images.double() - exact.images
    return float(difference.norm() / exact.images.norm())


def rows(options: Options, steps: int, device: torch.device) -> Iterator[list[object]]:
    """One line of the table for each implementation."""
    case = Case(steps=steps, width=options.width, batch=options.batch)
    network, single = problem(case, device)
    double = {k: v.double() if isinstance(v, Tensor) else v for k, v in single.items()}
    exact_network, _ = problem(case, device)
    exact_network.double()
    exact, open_exactly = plain_gradient(exact_network, double)
    for precision in options.precisions:
        with arithmetic(precision) as dtype:
            inner = InnerGradient.by_hand(ConvNetGradient(network, dtype=dtype))
            ways = {f"ours, {precision}": partial(our_gradient, network, inner, single)}
            if dtype is None:
                ways[f"plain, {precision}"] = partial(plain_gradient, network, single)
            if options.compile:
                ways[f"ours, {precision}, compiled"] = partial(
                    our_gradient, network, inner.compiled(), single
                )
            results = {name: way() for name, way in ways.items()}
        for name, (found, masks) in results.items():
            crossed = sum(int((a ^ b).sum()) for a, b in zip(masks, open_exactly, strict=True))
            held = held_gradient(exact_network, double, masks)
            yield [
                steps,
                name,
                f"{error(found, exact):.1e}",
                f"{crossed} of {sum(m.numel() for m in masks):,}",
                f"{error(found, held):.1e}",
            ]


def main(options: Options) -> None:
    """Print the table."""
    device = resolve_device(options.device)
    print(machine(device) + "\n")
    header = ["T", "way", "error", "ReLUs on the other side", "error, ReLUs held"]
    print(table(header, [row for steps in options.steps for row in rows(options, steps, device)]))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
