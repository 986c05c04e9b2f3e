"""Rules make the optimisers that they name; Muon does what its authors wrote, on any weights."""

import math

import pytest
import torch
from torch import Tensor, nn

from decoct.artefacts.rule import TrainingRule
from decoct.core import seeding
from decoct.training.optimiser import Optimiser, make_optimisers

MUON = TrainingRule(lr=0.05, momentum=0.9, weight_decay=1e-2, optimiser="muon")
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def fresh() -> nn.Sequential:
    """Weights of four, two and one dimensions; the first are wide, the last tall."""
    with seeding.seeded(0, "test"):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 5),
            nn.Linear(5, 9),
        )


def loss_of(network: nn.Module, step: int) -> Tensor:
    draws = torch.Generator().manual_seed(step)
    x = torch.randn(6, 3, 4, 4, generator=draws)
    found: Tensor = network(x).square().mean()
    return found


def orthogonalised(matrix: Tensor) -> Tensor:
    """Five Newton-Schulz steps as Jordan et al. 2024 write them, in float64."""
    x = matrix.double() / matrix.double().norm()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    a, b, c = COEFFICIENTS
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def by_hand(steps: int) -> nn.Module:
    """Muon for weights, AdamW for vectors, as their papers write them."""
    network = fresh()
    weights = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() == 1]
    adamw = torch.optim.AdamW(vectors, lr=3e-3, weight_decay=MUON.weight_decay)
    momenta = [torch.zeros_like(w) for w in weights]
    for step in range(steps):
        network.zero_grad()
        loss_of(network, step).backward()
        adamw.step()
        with torch.no_grad():
            for weight, momentum in zip(weights, momenta, strict=True):
                assert weight.grad is not None
                momentum.lerp_(weight.grad, 1 - MUON.momentum)
                nesterov = weight.grad.lerp(momentum, MUON.momentum)
                rows, columns = nesterov.flatten(1).shape
                update = orthogonalised(nesterov.flatten(1)).view_as(weight).float()
                weight *= 1 - MUON.lr * MUON.weight_decay
                weight -= MUON.lr * math.sqrt(max(1, rows / columns)) * update
    return network


@pytest.mark.parametrize("steps", [1, 4])
def test_muon_is_the_one_that_was_published(steps: int) -> None:
    """To the 8 bits of bfloat16, in which torch computes Newton-Schulz steps."""
    network = fresh()
    optimiser = Optimiser(MUON, network.parameters())
    for step in range(steps):
        optimiser.step(loss_of(network, step))
    parts = (fresh().parameters(), network.parameters(), by_hand(steps).parameters())
    for start, found, expected in zip(*parts, strict=True):
        error = (found - expected).norm() / (expected - start).norm()
        assert error < (0.05 if found.dim() > 1 or steps > 1 else 1e-4)


def test_a_step_of_muon_has_singular_values_near_the_rate() -> None:
    network = fresh()
    rule = TrainingRule(lr=0.1, momentum=0.9, weight_decay=0.0, optimiser="muon")
    before = [p.detach().clone() for p in network.parameters() if p.dim() > 1]
    Optimiser(rule, network.parameters()).step(loss_of(network, 0))
    after = [p.detach() for p in network.parameters() if p.dim() > 1]
    for old, new in zip(before, after, strict=True):
        step = (new - old).flatten(1)
        scale = 0.1 * math.sqrt(max(1, step.shape[0] / step.shape[1]))
        values = torch.linalg.svdvals(step) / scale
        rank = torch.linalg.matrix_rank(step, rtol=0.2)
        assert 0.6 < values[0] < 1.3
        assert rank >= 1


def test_the_layout_of_the_weights_does_not_matter() -> None:
    plain, last = fresh(), fresh().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for network in (plain, last):
        optimiser = Optimiser(MUON, network.parameters())
        for step in range(3):
            optimiser.step(loss_of(network, step))
    for a, b in zip(plain.parameters(), last.parameters(), strict=True):
        assert (a - b).abs().max() < 0.01


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        (TrainingRule(), [torch.optim.SGD]),
        (TrainingRule(optimiser="adam"), [torch.optim.Adam]),
        (TrainingRule(optimiser="adamw"), [torch.optim.AdamW]),
        (MUON, [torch.optim.Muon, torch.optim.AdamW]),
    ],
)
def test_a_rule_names_its_optimisers(rule: TrainingRule, kinds: list[type]) -> None:
    made = make_optimisers(rule, fresh().parameters())
    assert [type(part) for part in made] == kinds
    assert made[0].param_groups[0]["lr"] == rule.lr


def test_a_network_of_vectors_alone_and_one_of_matrices_alone_can_be_trained_by_muon() -> None:
    assert [type(o) for o in make_optimisers(MUON, nn.LayerNorm(3).parameters())] == [
        torch.optim.AdamW
    ]
    assert [type(o) for o in make_optimisers(MUON, nn.Linear(3, 2, bias=False).parameters())] == [
        torch.optim.Muon
    ]


def test_weights_without_a_gradient_stay() -> None:
    network = fresh()
    before = network[5].weight.detach().clone()  # type: ignore[union-attr, operator]
    optimiser = Optimiser(MUON, network.parameters())
    optimiser.step(network[:5](torch.randn(2, 3, 4, 4)).sum())
    assert torch.equal(network[5].weight, before)  # type: ignore[arg-type]
