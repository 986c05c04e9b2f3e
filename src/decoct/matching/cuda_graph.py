"""An iteration as one CUDA graph, so that Python need not launch each kernel.

It has not been run on a GPU yet: `benchmarks/unroll.py --graphs` tries it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from decoct.matching.unroll import MatchingGradient

Outputs = tuple[Tensor, ...]
# Runs a call once to record it; returns a function that replays it, and the tensors it writes to
Record = Callable[[Callable[[], Outputs]], tuple[Callable[[], object], Outputs]]


@runtime_checkable
class Match(Protocol):
    """`matching_gradient` with its first argument and its options bound."""

    def __call__(
        self,
        *,
        start: Tensor,
        goal: Tensor,
        images: Tensor,
        targets: Tensor,
        lr: Tensor,
        batches: Sequence[Tensor],
    ) -> MatchingGradient:
        """The matching loss and its gradient."""


def record_on_cuda(call: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
    """Capture a call as a CUDA graph, after three runs that compile and choose algorithms."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = call()
    return graph.replay, outputs


def as_cuda_graph(match: Match, *, record: Record = record_on_cuda) -> Match:
    """`match`, recorded at the first call and replayed afterwards: no shape may change."""
    inputs: list[Tensor] = []
    replay: Callable[[], object]
    outputs: Outputs

    def on(
        start: Tensor, goal: Tensor, images: Tensor, targets: Tensor, lr: Tensor, *batches: Tensor
    ) -> Outputs:
        found = match(
            start=start, goal=goal, images=images, targets=targets, lr=lr, batches=batches
        )
        return found.loss, found.images, found.targets, found.lr

    def call(
        *,
        start: Tensor,
        goal: Tensor,
        images: Tensor,
        targets: Tensor,
        lr: Tensor,
        batches: Sequence[Tensor],
    ) -> MatchingGradient:
        nonlocal replay, outputs
        given = (start, goal, images, targets, lr, *batches)
        if not inputs:
            inputs.extend(t.detach().clone() for t in given)
            replay, outputs = record(partial(on, *inputs))
        for kept, new in zip(inputs, given, strict=True):
            kept.copy_(new)
        replay()
        return MatchingGradient(*(t.clone() for t in outputs))  # the next replay overwrites them

    return call
