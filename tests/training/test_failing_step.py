"""A step that is not finite leaves the state before it; a fault that passes leaves no trace."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from decoct.artefacts.targets import Targets
from decoct.core import checkpoint
from decoct.core.errors import DivergedError
from decoct.core.failing_step import FiniteThisTime, where_not_finite
from decoct.core.place import FAILING_STEP, STATE
from decoct.data.images import Images
from decoct.training import experts
from decoct.training.expert import ExpertsConfig
from decoct.training.experts import train_experts
from decoct.training.loop import Losses, Step, train
from tests.training.test_loop import LENGTH, RULES, fresh, losses_of, run, same

FAILING = (1, 2)  # epoch and step
Harm = Callable[[Tensor], Tensor]


def harmed(at: tuple[int, int], harm: Harm, *, times: int = 1000) -> Losses:
    """The losses of `test_loop`, one of which is harmed, so many times."""
    finite, left = losses_of(), iter(range(times))

    def loss(of: Callable[[], Tensor], here: tuple[int, int]) -> Tensor:
        return harm(of()) if here == at and next(left, None) is not None else of()

    def losses(network: nn.Module, epoch: int) -> Iterator[Step]:
        for step, (of, weight) in enumerate(finite(network, epoch)):
            yield partial(loss, of, (epoch, step)), weight

    return losses


def not_a_number(loss: Tensor) -> Tensor:
    return loss * torch.tensor(math.nan)


def endless_slope(loss: Tensor) -> Tensor:
    """A finite loss whose gradient is not."""
    return (loss - loss.detach()).abs().sqrt() + loss.detach()


def training(network: nn.Module, losses: Losses, state: Path, rule: str = "sgd") -> list[float]:
    return train(
        network,
        losses,
        rule=RULES[rule],
        length=LENGTH,
        label="test",
        on_divergence="diverged in epoch {epoch}",
        state=state,
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at", [(0, 0), FAILING, (2, 2)])
def test_a_fault_that_does_not_come_again_leaves_no_trace(
    at: tuple[int, int], rule: str, tmp_path: Path
) -> None:
    network = fresh()
    means = training(network, harmed(at, not_a_number, times=1), tmp_path / STATE, rule)
    same((network.state_dict(), means), run(RULES[rule]))
    assert not (tmp_path / FAILING_STEP).exists()


@pytest.mark.parametrize("harm", [not_a_number, endless_slope])
@pytest.mark.parametrize("at", [(0, 0), FAILING, (2, 2)])
@pytest.mark.parametrize("rule", ["sgd-cosine", "adam", "muon"])
def test_the_state_before_the_failing_step_is_kept(
    rule: str, at: tuple[int, int], harm: Harm, tmp_path: Path
) -> None:
    network, whole = fresh(), fresh()
    with pytest.raises(DivergedError, match=rf"^diverged in epoch {at[0]} \(step {at[1]} of epo"):
        training(network, harmed(at, harm), tmp_path / STATE, rule)
    there: dict[str, Tensor] = {}
    losses: list[float] = []

    def watch(loss: Tensor) -> Tensor:
        losses.append(loss.item())
        return loss

    def remember(network: nn.Module, epoch: int) -> Iterator[Step]:
        for step, found in enumerate(harmed(at, watch)(network, epoch)):
            if (epoch, step) == at:
                there.update({name: t.clone() for name, t in whole.state_dict().items()})
            yield found

    training(whole, remember, tmp_path / "other.safetensors", rule)
    kept = checkpoint.load(tmp_path / FAILING_STEP)
    assert kept is not None
    assert all(torch.equal(kept[0][f"network.{name}"], there[name]) for name in there)
    # Repeated from the file by itself, it draws what it drew, and gives the loss that it gave.
    again = fresh()
    with pytest.raises(FiniteThisTime, match=f"step {at[1]} of epoch {at[0]}"):
        training(again, harmed(at, watch), tmp_path / FAILING_STEP, rule)
    assert len(losses) == 2 and losses[0] == losses[1]
    with pytest.raises(DivergedError, match=rf"step {at[1]} of epoch {at[0]}"):
        training(again, harmed(at, harm), tmp_path / FAILING_STEP, rule)


def test_running_statistics_that_overflow_in_the_last_step_are_divergence(tmp_path: Path) -> None:
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))

    def losses(network: nn.Module, epoch: int) -> Iterator[Step]:
        for step in range(LENGTH.steps_of(epoch)):
            last = (epoch, step) == (2, 2)
            x = torch.tensor([[1.0], [2.0]]) * (1e30 if last else 1)
            yield partial(lambda x: network(x).square().mean(), x), 2

    with pytest.raises(DivergedError, match=r"epoch 2: native_batch_norm of Sequential\.0"):
        training(network, losses, tmp_path / STATE)


@pytest.mark.parametrize("times", [1, 1000])
def test_an_expert_goes_on_after_a_fault_and_keeps_a_failure(
    times: int,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_experts_config: ExpertsConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(tiny_experts_config, count=1, epochs=2)

    def make(place: str, state: str) -> Tensor:
        return train_experts(
            images=tiny_images,
            targets=tiny_targets,
            folder=tmp_path / place,
            config=config,
            state=tmp_path / state,
        ).expert(0)

    whole = make("whole", STATE)
    real, left, asked = experts.ConvNetGradient.gradient, [times], [0]
    bad = tiny_images.normalised()[
        torch.randperm(40, generator=experts.seeding.generator(0, "experts", 0, 1))
    ][16:32]

    def broken(self: object, theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        asked[0] += 1
        loss, slope = real(self, theta, x, y)  # type: ignore[arg-type]
        if left[0] and len(x) == len(bad) and torch.equal(x, bad):
            left[0] -= 1
            return loss, slope / torch.zeros(())
        return loss, slope

    monkeypatch.setattr(experts.ConvNetGradient, "gradient", broken)
    if times == 1:
        assert torch.equal(make("other", STATE), whole)
        assert not (tmp_path / FAILING_STEP).exists()
        return
    with pytest.raises(DivergedError, match=r"expert 0 diverged in epoch 1.*step 1 of epoch 1: d"):
        make("other", STATE)
    asked[0] = 0
    with pytest.raises(DivergedError, match="step 1 of epoch 1: div gives the first"):
        make("other", FAILING_STEP)
    assert asked[0] == 2  # once, and once more to look at each operation
    monkeypatch.undo()
    with pytest.raises(FiniteThisTime, match="step 1 of epoch 1 of expert 0"):
        make("other", FAILING_STEP)


def test_it_says_which_operation_of_which_layer_on_which_way() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    x = torch.ones(3, 2)
    assert where_not_finite(lambda: network(x).sum().backward()) == ""
    said = where_not_finite(lambda: network(x).mul(0).sqrt().sum().backward())
    assert said.startswith("div on the way back gives the first")
    with torch.no_grad():
        network[2].weight.fill_(math.inf)
    assert where_not_finite(lambda: network(x)) == ""  # it was not finite to begin with
    with torch.no_grad():
        network[2].weight.fill_(3e38)
        network[0].bias.fill_(9.0)
    assert where_not_finite(lambda: network(x)).startswith("addmm of Sequential.2 gives the first")


def test_infinities_that_are_meant_are_no_fault() -> None:
    masked = torch.zeros(2).masked_fill
    assert where_not_finite(lambda: masked(torch.tensor([True, False]), -math.inf)) == ""
    assert where_not_finite(lambda: torch.full((2,), math.inf)) == ""
