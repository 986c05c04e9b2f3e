"""A recorded iteration gets its inputs by copying, and its results are not overwritten.

CUDA graphs need a GPU; a stand-in records a call and repeats it on the same tensors, as they do.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.cuda_graph import Outputs, as_cuda_graph
from decoct.matching.inner_gradient import InnerGradient
from decoct.matching.unroll import MatchingGradient, matching_gradient
from decoct.models.convnet import convnet


def arguments(seed: int) -> dict[str, Tensor | list[Tensor]]:
    draws = torch.Generator().manual_seed(seed)
    theta = parameters_to_vector(network().parameters()).detach()
    return {
        "start": theta,
        "goal": theta + 0.1 * torch.randn(theta.shape, generator=draws),
        "images": torch.randn(4, 3, 8, 8, generator=draws),
        "targets": torch.randn(4, 2, generator=draws),
        "lr": torch.tensor(0.1 * (seed + 1)),
        "batches": [torch.randperm(4, generator=draws)[:2] for _ in range(3)],
    }


def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return convnet(size=8, width=3, depth=2, outputs=2)


def match(**given: object) -> MatchingGradient:
    inner = InnerGradient.by_hand(ConvNetGradient(network()))  # type: ignore[arg-type]
    return matching_gradient(inner, **given, momentum=0.5, kept_tapes=1)  # type: ignore[arg-type]


def stand_in(call: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
    outputs = call()

    def replay() -> None:
        for kept, new in zip(outputs, call(), strict=True):
            kept.copy_(new)

    return replay, outputs


def test_every_replay_gives_what_a_plain_call_gives() -> None:
    replayed = as_cuda_graph(match, record=stand_in)
    found = [replayed(**arguments(seed)) for seed in range(3)]  # type: ignore[arg-type]
    for seed, gradient in enumerate(found):  # the first is still what it was
        expected = match(**arguments(seed))
        for what in ("loss", "images", "targets", "lr"):
            assert torch.equal(getattr(gradient, what), getattr(expected, what))


def test_it_is_recorded_once() -> None:
    recorded: list[int] = []

    def record(call: Callable[[], Outputs]) -> tuple[Callable[[], object], Outputs]:
        recorded.append(1)
        return stand_in(call)

    replayed = as_cuda_graph(match, record=record)
    for seed in range(3):
        replayed(**arguments(seed))  # type: ignore[arg-type]
    assert recorded == [1]


def test_another_number_of_steps_is_refused() -> None:
    replayed = as_cuda_graph(match, record=stand_in)
    given = arguments(0)
    replayed(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shorter"):
        replayed(**{**given, "batches": given["batches"][:2]})  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_cuda_graph_gives_what_a_plain_call_gives() -> None:
    def on_gpu(given: dict[str, Tensor | list[Tensor]]) -> dict[str, Tensor | list[Tensor]]:
        return {
            k: [b.cuda() for b in v] if isinstance(v, list) else v.cuda() for k, v in given.items()
        }

    replayed = as_cuda_graph(match)
    for seed in range(3):
        gradient, expected = replayed(**on_gpu(arguments(seed))), match(**on_gpu(arguments(seed)))  # type: ignore[arg-type]
        for what in ("loss", "images", "targets", "lr"):
            a, b = getattr(gradient, what), getattr(expected, what)
            assert float((a - b).norm()) < 1e-5 * float(b.norm())
