"""A rule's optimiser and its schedule, as one object that takes a step for each loss."""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from decoct.artefacts.rule import TrainingRule
from decoct.core import checkpoint

_VECTORS_LR = 3e-3  # of AdamW, for the parameters that Muon leaves out


class Optimiser:
    """The optimiser of a rule with its schedule, for `steps` steps in epochs of `steps_per_epoch`.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> optimiser = Optimiser(TrainingRule(lr=0.5, momentum=0, weight_decay=0), [weight])
    >>> optimiser.step(weight.square().sum() / 2)
    >>> weight.item()
    0.5
    """

    def __init__(
        self,
        rule: TrainingRule,
        parameters: Iterable[nn.Parameter],
        *,
        steps: int = 1,
        steps_per_epoch: int = 1,
    ) -> None:
        self.parts = make_optimisers(rule, parameters)
        epochs = steps / steps_per_epoch

        def factor(step: int) -> float:
            return lr_factor(rule, step / steps_per_epoch, epochs)

        self._schedules = [torch.optim.lr_scheduler.LambdaLR(part, factor) for part in self.parts]

    def step(self, loss: Tensor) -> None:
        """Take a step down the gradient of a loss (a scalar)."""
        for part in self.parts:
            part.zero_grad()
        loss.backward()
        for part, schedule in zip(self.parts, self._schedules, strict=True):
            part.step()
            schedule.step()

    def state(self) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        """What a checkpoint keeps: the moments by name, and the schedules' positions."""
        tensors: dict[str, Tensor] = {}
        for k, part in enumerate(self.parts):
            tensors |= checkpoint.optimiser_tensors(f"optimiser.{k}", part)
        return tensors, [schedule.state_dict() for schedule in self._schedules]

    def restore(self, tensors: Mapping[str, Tensor], positions: list[dict[str, Any]]) -> None:
        """Continue from what `state` returned."""
        for k, (part, schedule) in enumerate(zip(self.parts, self._schedules, strict=True)):
            checkpoint.restore_optimiser(f"optimiser.{k}", part, tensors)
            schedule.load_state_dict(positions[k])
            for group, lr in zip(part.param_groups, schedule.get_last_lr(), strict=True):
                group["lr"] = lr


def make_optimisers(
    rule: TrainingRule, parameters: Iterable[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    """The optimisers that the rule describes; Muon needs a second one, for vectors."""
    parameters = list(parameters)
    decay = rule.weight_decay
    if rule.optimiser == "muon":
        weights = [p for p in parameters if p.dim() > 1]
        vectors = [p for p in parameters if p.dim() <= 1]
        adamw = [torch.optim.AdamW(vectors, lr=_VECTORS_LR, weight_decay=decay)] if vectors else []
        return [_muon(rule, weights), *adamw] if weights else [*adamw]
    if rule.optimiser == "adam":
        return [torch.optim.Adam(parameters, lr=rule.lr, weight_decay=decay)]
    if rule.optimiser == "adamw":
        return [torch.optim.AdamW(parameters, lr=rule.lr, weight_decay=decay)]
    return [torch.optim.SGD(parameters, lr=rule.lr, momentum=rule.momentum, weight_decay=decay)]


def _muon(rule: TrainingRule, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Torch's Muon (Jordan et al. 2024), which takes matrices only, on flattened weights.

    The matrices are copies with a row for each output channel. Before a step they receive the
    weights and gradients; after it the weights receive them back.
    """
    matrices = [nn.Parameter(w.detach().flatten(1).clone()) for w in weights]
    muon = torch.optim.Muon(
        matrices, lr=rule.lr, momentum=rule.momentum, weight_decay=rule.weight_decay
    )
    muon.register_step_pre_hook(partial(_to_matrices, weights, matrices))
    muon.register_step_post_hook(partial(_to_weights, weights, matrices))
    return muon


@torch.no_grad()
def _to_matrices(weights: list[nn.Parameter], matrices: list[nn.Parameter], *_: Any) -> None:
    for weight, matrix in zip(weights, matrices, strict=True):
        matrix.copy_(weight.flatten(1))
        matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        weight.grad = None


@torch.no_grad()
def _to_weights(weights: list[nn.Parameter], matrices: list[nn.Parameter], *_: Any) -> None:
    for weight, matrix in zip(weights, matrices, strict=True):
        weight.copy_(matrix.view_as(weight))


def lr_factor(rule: TrainingRule, epoch: float, epochs: float) -> float:
    """The learning rate at a (fractional) epoch, as a fraction of the full rate.

    >>> lr_factor(TrainingRule(schedule="cosine", warm_up=1), 2.0, 3.0)
    0.5
    """
    if epoch < rule.warm_up:
        return (epoch + 0.1) / (rule.warm_up + 0.1)
    done = min(1.0, (epoch - rule.warm_up) / max(1e-9, epochs - rule.warm_up))
    if rule.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if rule.schedule == "linear" else 1.0
