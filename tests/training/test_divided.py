"""What several processes train together is what one trains: losses, encoders, checkpoints."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import Targets, TargetsConfig, compute_targets, fit_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import checkpoint, ranks, seeding
from decoct.core.errors import DecoctError
from decoct.core.failing_step import FiniteThisTime
from decoct.core.place import FAILING_STEP, STATE
from decoct.data.images import Images
from decoct.data.stored_views import FreshViews
from decoct.methods.views import Views, stored_views
from decoct.models.registry import NetworkConfig, create_network
from decoct.training import loop
from decoct.training.assistant import AssistantConfig, train_assistant
from decoct.training.difficulty import difficulty
from decoct.training.objective import SSL_LOSSES, Objective
from decoct.training.pretrain import PretrainConfig, pretrain, pretrain_on_all
from decoct.training.ssl_pretrain import pretrain_by_ssl
from decoct.training.teacher import SSLConfig, train_teacher
from tests.processes import Processes
from tests.training.interruption import Interrupted, interrupt_in
from tests.training.test_failing_step import harmed, training
from tests.training.test_loop import fresh, losses_of

SIZE, COUNT = 8, 33  # the last batch of 16 or 8 has a single image
CONVNET = NetworkConfig(width=4, depth=2)
RESNET = NetworkConfig(name="resnet10-small", width=2)
RULES = {
    "sgd": TrainingRule(lr=0.02, batch=8),
    "adam": TrainingRule(lr=0.003, momentum=0.0, batch=8, optimiser="adam"),
    "muon": TrainingRule(lr=0.02, batch=8, optimiser="muon"),
}
SSL = SSLConfig(network=CONVNET, epochs=1, warm_up=0, batch=15, projector=8)
Outcome = tuple[list[float], dict[str, Tensor]]  # losses, and what the network holds


@contextmanager
def in_float64() -> Iterator[None]:
    """Numbers are in float64 inside the block, also where float32 is asked for."""
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tensor, "float", Tensor.double)
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def the_images(count: int = COUNT) -> Images:
    draws = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=draws).to(torch.uint8)
    return Images.from_array(pixels)


def the_targets(images: Images) -> Any:
    return fit_targets(images.normalised().flatten(1)[:, :5].tanh(), TargetsConfig())


def the_set(rule: str, **more: Any) -> DistilledSet:
    images = the_images(17)  # batches of 8 and 9
    parts = {"targets": the_targets(images).values, "rule": RULES[rule], "method": "test"} | more
    return DistilledSet(images=images.normalised(), mean=images.mean, std=images.std, **parts)


def the_labeller() -> Assistant:
    images = the_images()
    with seeding.seeded(0, "test"):
        network = create_network(CONVNET, channels=3, size=SIZE, outputs=5)
    return Assistant(network, CONVNET, SIZE, images.mean, images.std, outputs=5)


def teacher(state: Path | None, **more: Any) -> Encoder:
    count = more.pop("count", COUNT)
    return train_teacher(images=the_images(count), config=replace(SSL, **more), state=state)


def assistant(state: Path | None, **more: Any) -> Assistant:
    images, config = the_images(), AssistantConfig(network=CONVNET, epochs=2, batch=16)
    config = replace(config, **more)
    return train_assistant(images=images, targets=the_targets(images), config=config, state=state)


def on_a_set(state: Path | None, rule: str, network: NetworkConfig, **more: Any) -> Encoder:
    config = PretrainConfig(network=network, epochs=2)
    return pretrain(distilled=the_set(rule, **more), config=config, state=state)


def without_targets(state: Path | None) -> Encoder:
    objective = Objective(algorithm="vicreg", projector=6)
    more = {"targets": torch.zeros(17, 0), "provenance": {"objective": vars(objective)}}
    return on_a_set(state, "adam", CONVNET, **more)


def labelled(state: Path | None) -> Encoder:
    more = {"labeller": the_labeller(), "fresh": FreshViews(plain=0.3)}
    return on_a_set(state, "sgd", RESNET, targets=torch.zeros(17, 0), **more)


def on_all(state: Path | None, *, fresh: bool) -> Encoder:
    images = the_images()
    targets = (the_labeller(), FreshViews(plain=0.3)) if fresh else the_targets(images)
    config = PretrainConfig(network=CONVNET, epochs=2)
    return pretrain_on_all(
        images=images, targets=targets, rule=RULES["muon"], config=config, state=state
    )


def by_ssl(state: Path | None) -> Encoder:
    return pretrain_by_ssl(images=the_images(5), network=RESNET, steps=3, state=state)


Training = tuple[Callable[..., Any], dict[str, Any]]
TRAININGS: dict[str, Training] = {
    **{f"teacher-{name}": (teacher, {"algorithm": name}) for name in SSL_LOSSES},
    "teacher-resnet": (teacher, {"network": RESNET, "optimiser": "muon", "epochs": 2}),
    "teacher-of-few": (teacher, {"network": RESNET, "batch": 3, "count": 7}),
    "assistant": (assistant, {}),
    "assistant-sgd": (assistant, {"optimiser": "sgd", "lr": 0.05}),
    "a-set-sgd": (on_a_set, {"rule": "sgd", "network": CONVNET}),
    "a-set-muon": (on_a_set, {"rule": "muon", "network": CONVNET}),
    "a-set-adam": (on_a_set, {"rule": "adam", "network": RESNET}),
    "without-targets": (without_targets, {}),
    "labelled": (labelled, {}),
    "all-images": (on_all, {"fresh": False}),
    "all-images-labelled": (on_all, {"fresh": True}),
    "ssl": (by_ssl, {}),
}
# A batch of these has fewer rows than there are processes.
FEW = ("teacher-of-few", "assistant", "all-images", "all-images-labelled")


def outcome(name: str, state: Path | None = None) -> Outcome:
    make, settings = TRAININGS[name]
    with in_float64():
        made = make(state, **settings)
    return made.provenance["losses"], made.network.state_dict()


def same(found: Outcome, expected: Outcome) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-8)
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-8)


def agreed(outcomes: list[Outcome]) -> Outcome:
    """What all processes have come to, to the bit."""
    first, *others = outcomes
    for losses, tensors in others:
        assert losses == first[0]
        assert all(torch.equal(tensors[name], value) for name, value in first[1].items())
    return first


@pytest.mark.parametrize("name", TRAININGS)
def test_two_train_what_one_does(name: str, two_processes: Processes) -> None:
    same(agreed(two_processes.call(outcome, name)), outcome(name))


@pytest.mark.parametrize("name", FEW)
def test_with_fewer_rows_than_processes_they_do_so(name: str, four_processes: Processes) -> None:
    same(agreed(four_processes.call(outcome, name)), outcome(name))


# Checkpoints


def interrupted(name: str, state: Path) -> None:
    """Train until the end of the second epoch, whose checkpoint is not written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
        interrupt_in(1, patch)
        with pytest.raises(Interrupted):
            outcome(name, state)


@pytest.mark.parametrize("name", ["teacher-resnet", "labelled"])
def test_another_number_of_processes_goes_on(
    name: str, two_processes: Processes, four_processes: Processes, tmp_path: Path
) -> None:
    expected = outcome(name)
    for before in (two_processes, None):
        state = tmp_path / f"{before is None}.safetensors"
        before.call(interrupted, name, state) if before else interrupted(name, state)
        assert len(checkpoint.load(state)[1]["losses"]) == 1  # type: ignore[index]
        same(agreed(four_processes.call(outcome, name, state)), expected)


def of_another_folder(folder: Path) -> str:
    state = folder / f"rank-{ranks.rank()}" / STATE
    state.parent.mkdir()
    if ranks.rank():
        with ranks.alone():
            interrupted("labelled", state)
    with pytest.raises(DecoctError) as refusal:
        outcome("labelled", state)
    return str(refusal.value)


def test_a_folder_that_is_not_shared_is_noticed(two_processes: Processes, tmp_path: Path) -> None:
    for refusal in two_processes.call(of_another_folder, tmp_path):
        assert re.search(r"rank-.* they have finished 0, 1 epochs; put the run in a fo", refusal)


# Steps that are not finite


def not_finite(loss: Tensor) -> Tensor:
    """On one rank only."""
    return loss.mul(0).log() if ranks.rank() == 1 else loss


def with_a_fault(state: Path, times: int) -> tuple[str, list[float]]:
    network, losses = fresh(), harmed((1, 2), not_finite, times=times)
    try:
        return "", training(network, losses, state)
    except DecoctError as error:
        return f"{type(error).__name__}: {error}", []


def test_a_fault_on_one_rank_is_one_of_all(two_processes: Processes, tmp_path: Path) -> None:
    unharmed, once, always = (
        two_processes.call(with_a_fault, tmp_path / f"{times}" / STATE, times)
        for times in (0, 1, 1000)
    )
    assert once == unharmed
    (first, _), (second, _) = always
    assert first.startswith(
        "DivergedError: diverged in epoch 1 (step 2 of epoch 1: log gives the fi"
    )
    assert second.removeprefix("SaidByFirst") == first.removeprefix("Diverged")
    kept = tmp_path / "1000" / FAILING_STEP
    with pytest.raises(FiniteThisTime):
        training(fresh(), losses_of(), kept)


# Rows


def represented(count: int) -> tuple[Tensor, Targets]:
    images, labeller = the_images(count), the_labeller()
    encoder = Encoder(labeller.network, CONVNET, SIZE, images.mean, images.std)
    encoder.network.remove_head()
    config = TargetsConfig(components=2)
    targets = compute_targets(images=images, teacher=encoder, config=config)
    return encoder.embed(images, batch=4), targets


@pytest.mark.parametrize("count", [5, 33])
def test_representations_and_targets_are_the_same_bits(
    count: int, four_processes: Processes
) -> None:
    features, targets = represented(count)
    for others, their in four_processes.call(represented, count):
        assert torch.equal(others, features)
        assert all(torch.equal(getattr(their, n), value) for n, value in vars(targets).items())


def views(count: int) -> DistilledSet:
    teacher = the_labeller().network
    teacher.remove_head()
    images = the_images()
    encoder = Encoder(teacher, CONVNET, SIZE, images.mean, images.std)

    def label(views: Tensor, rows: Tensor) -> Tensor:
        pixels = (views * 255).round().to(torch.uint8)
        return encoder.embed(replace(images, pixels=pixels), batch=4)

    config = Views(count=count)
    return stored_views(images=images, index=torch.arange(9), label=label, config=config)


@pytest.mark.parametrize("count", [2, 5])
def test_labels_of_views_are_the_same_bits(count: int, four_processes: Processes) -> None:
    expected = views(count)
    for found in four_processes.call(views, count):
        assert torch.equal(found.targets, expected.targets)


def how_difficult(trajectories: Trajectories, images: Images, targets: Targets) -> Tensor:
    return difficulty(images=images, targets=targets, trajectories=trajectories, batch=16)


def test_difficulty_is_the_same_bits(
    four_processes: Processes,
    tiny_trajectories: Trajectories,
    tiny_images: Images,
    tiny_targets: Targets,
) -> None:
    given = (tiny_trajectories, tiny_images, tiny_targets)
    expected = how_difficult(*given)
    assert all(torch.equal(d, expected) for d in four_processes.call(how_difficult, *given))
