"""Probes see the labelled examples alone, and the penalty that cross-validation chooses."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.preprocessing
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.tasks import Task, labelled_indices
from decoct.evaluation.logistic import Logistic
from decoct.evaluation.penalty import PENALTIES, cross_validated_penalty, stratified_folds
from decoct.evaluation.probe import ProbeConfig, probe, probe_accuracies
from decoct.models.registry import NetworkConfig, create_network

Array = NDArray[np.float64]
module = importlib.import_module("decoct.evaluation.probe")  # decoct.probe itself is the function


def problem(
    n: int, features: int, classes: int, *, correlated: bool = False, seed: int = 0
) -> tuple[Array, NDArray[np.int64]]:
    """Noisy blobs, one a class, that overlap."""
    draws = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = draws.normal(size=(classes, features))[labels] + draws.normal(size=(n, features))
    if correlated:
        x = x @ draws.normal(size=(features, features)) * np.logspace(1, -2, features)
    return x + 3, labels


def penalty_of(x: Array, labels: NDArray[np.int64], *, classes: int) -> float:
    features, known = torch.from_numpy(x)[None], torch.from_numpy(labels)[None]
    return cross_validated_penalty(features, known, classes=classes)


def held_out(x: Array, labels: NDArray[np.int64]) -> list[float]:
    """By scikit-learn: the summed cross-entropy on the held-out folds at every penalty."""
    fold = stratified_folds(torch.from_numpy(labels)).numpy()
    found = []
    for penalty in PENALTIES:
        total = 0.0
        for k in range(5):
            reference = sklearn.linear_model.LogisticRegression(
                C=1 / (2 * (fold != k).sum() * penalty), tol=1e-8, max_iter=10000
            ).fit(x[fold != k], labels[fold != k])
            log_p = reference.predict_log_proba(x[fold == k])
            total -= float(log_p[np.arange(len(log_p)), labels[fold == k]].sum())
        found.append(total)
    return found


def probe_accuracy(train: Tensor, labels: Tensor, *test: Tensor, **more: Any) -> float:
    return probe_accuracies(train, labels, torch.arange(len(train))[None], *test, **more)[0]


# Cross-validation


def test_folds_hold_an_even_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 5, 23])
    fold = stratified_folds(torch.from_numpy(labels)).numpy()
    counts = np.array([np.bincount(fold[labels == c], minlength=5) for c in range(3)])
    assert counts.sum(0).sum() == 38
    assert (counts.max(1) - counts.min(1) <= 1).all()
    assert counts[0].tolist() == [2] * 5


def test_the_penalty_chosen_has_the_least_held_out_cross_entropy() -> None:
    x, labels = problem(60, 8, 3)
    expected = PENALTIES[int(np.argmin(held_out(x, labels)))]
    assert penalty_of(x, labels, classes=3) == expected


def test_several_draws_choose_the_penalty_by_their_sum() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 8))
    x, labels = problem(60, 8, 3)
    losses = [held_out(features, labels) for features in (noise, x)]
    expected = PENALTIES[int(np.argmin(np.sum(losses, 0)))]
    both = torch.from_numpy(np.stack([noise, x])), torch.from_numpy(np.stack([labels, labels]))
    assert cross_validated_penalty(*both, classes=3) == expected
    assert len({expected, *(PENALTIES[int(np.argmin(found))] for found in losses)}) > 1


def test_pure_noise_gets_the_strongest_penalty_and_clean_data_a_weak_one() -> None:
    draws = np.random.default_rng(0)
    labels = np.arange(60) % 3
    noise = draws.normal(size=(60, 20))
    clean = 10 * np.eye(3)[labels] + 0.1 * draws.normal(size=(60, 3))
    assert penalty_of(noise, labels, classes=3) >= 1
    assert penalty_of(clean, labels, classes=3) <= 1e-3


def test_one_example_a_class_takes_the_middle_of_the_grid() -> None:
    x, labels = problem(4, 6, 4)
    penalty = penalty_of(x, labels, classes=4)
    assert min(PENALTIES) < penalty < max(PENALTIES)


def test_classes_of_one_example_beside_others_are_fitted() -> None:
    x, labels = problem(9, 6, 2)
    labels = np.where(np.arange(9) == 8, 2, labels)
    assert penalty_of(x, labels, classes=3) in PENALTIES


# Protocols


def tensors(
    n: int = 40, n_test: int = 60, features: int = 6, classes: int = 3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, labels = (torch.from_numpy(a) for a in problem(n + n_test, features, classes))
    return x[:n].float(), labels[:n], x[n:].float(), labels[n:]


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Every fit of a probe: its features and penalties."""
    calls: list[tuple[Tensor, Tensor]] = []

    class Spy(Logistic):
        def __init__(self, features: Tensor, labels: Tensor, *, classes: int) -> None:
            super().__init__(features, labels, classes=classes)
            self.given = features.clone()

        def fit(self, penalty: Tensor, *, tolerance: float = 1e-8) -> tuple[Tensor, Tensor]:
            calls.append((self.given, penalty))
            return super().fit(penalty, tolerance=tolerance)

    monkeypatch.setattr(module, "Logistic", Spy)
    return calls


def test_standard_protocol_sees_the_labelled_examples_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, labels, test, test_labels = tensors()
    calls = spied(monkeypatch)
    for seen in (test, test * 1e3 + 7, test[:1]):
        probe_accuracy(
            train, labels, seen, test_labels[: len(seen)], classes=3, protocol="standard"
        )
    assert len(calls) == 3
    assert all(torch.equal(x, calls[0][0]) and torch.equal(p, calls[0][1]) for x, p in calls)


def test_standard_protocol_standardises_on_the_labelled_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, labels, test, test_labels = tensors()
    calls = spied(monkeypatch)
    probe_accuracy(train, labels, test, test_labels, classes=3, protocol="standard")
    assert np.allclose(calls[0][0].std(1, correction=0), 1)


def thirds(labels: Tensor, draws: int) -> Tensor:
    """Stratified draws of a third of the rows."""
    index = [
        torch.randperm(len(labels), generator=torch.Generator().manual_seed(i))
        for i in range(draws)
    ]
    return torch.stack([row[labels[row].argsort(stable=True)][::3] for row in index])


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_draws_together_score_as_they_do_alone(
    protocol: str, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, labels, test, test_labels = tensors()
    index = thirds(labels, draws=4)
    monkeypatch.setattr(module, "cross_validated_penalty", lambda *_, **__: 0.1)
    monkeypatch.setattr(module, "_NUMBERS", 4 * index.shape[1] * train.shape[1] // pieces)

    def scores(rows: Tensor) -> list[float]:
        return probe_accuracies(
            train, labels, rows, test, test_labels, classes=3, protocol=protocol
        )

    together = scores(index)
    assert len(set(together)) > 1
    assert together == [scores(row[None])[0] for row in index]


@pytest.mark.parametrize("needed, first", [(1, 3), (30 * 4, 4), (30 * 4 + 1, 5), (10**4, 5)])
def test_the_first_draws_choose_the_penalty_of_all(
    needed: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, labels, test, test_labels = tensors(n=90)
    index, calls = thirds(labels, draws=5), spied(monkeypatch)
    seen: list[int] = []

    def choose(x: Tensor, labels: Tensor, *, classes: int) -> float:
        seen.append(len(x))
        return cross_validated_penalty(x, labels, classes=classes)

    monkeypatch.setattr(module, "cross_validated_penalty", choose)
    monkeypatch.setattr(module, "_PENALTY_LABELS", needed)
    probe_accuracies(train, labels, index, test, test_labels, classes=3, protocol="standard")
    assert seen == [first]
    x = train[index[:first]].double()
    expected = cross_validated_penalty(
        x / x.std(1, correction=0, keepdim=True), labels[index[:first]], classes=3
    )
    assert torch.cat([p for _, p in calls]).tolist() == pytest.approx([expected] * 5)


@pytest.mark.parametrize("correlated", [False, True])
def test_standard_accuracies_are_scikit_learns_at_full_precision(correlated: bool) -> None:
    x, y = (torch.from_numpy(a) for a in problem(1200, 40, 5, correlated=correlated))
    train, labels, test, test_labels = x[:200].float(), y[:200], x[200:].float(), y[200:]
    index = thirds(labels, draws=6)
    got = probe_accuracies(train, labels, index, test, test_labels, classes=5, protocol="standard")
    seen = train[index].double()
    penalty = cross_validated_penalty(
        seen / seen.std(1, correction=0, keepdim=True), labels[index], classes=5
    )
    expected = []
    for row in index:
        scaler = sklearn.preprocessing.StandardScaler().fit(train[row].double().numpy())
        reference = sklearn.linear_model.LogisticRegression(
            C=1 / (2 * len(row) * penalty), solver="newton-cg", tol=1e-10, max_iter=10000
        ).fit(scaler.transform(train[row].double().numpy()), labels[row].numpy())
        right = reference.score(scaler.transform(test.double().numpy()), test_labels.numpy())
        expected.append(100 * right)
    assert got == pytest.approx(expected, abs=0.25)  # two test images in a thousand
    assert np.mean(got) == pytest.approx(np.mean(expected), abs=0.1)


@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_accuracy_does_not_depend_on_the_order_of_the_test_examples(protocol: str) -> None:
    train, labels, test, test_labels = tensors()
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    first, second = (
        probe_accuracy(train, labels, x, y, classes=3, protocol=protocol)
        for x, y in ((test, test_labels), (test[order], test_labels[order]))
    )
    assert first == second


def test_standard_accuracy_does_not_depend_on_the_scale_of_the_features() -> None:
    train, labels, test, test_labels = tensors()
    scale = torch.tensor([1e-3, 1.0, 1e3, 1.0, 10.0, 0.1])
    first, second = (
        probe_accuracy(train * s, labels, test * s, test_labels, classes=3, protocol="standard")
        for s in (torch.ones(6), scale)
    )
    assert first == pytest.approx(second, abs=1e-9)


def test_a_constant_feature_does_no_harm() -> None:
    train, labels, test, test_labels = tensors()
    with_constant = [torch.cat([x, torch.full((len(x), 1), 3.0)], 1) for x in (train, test)]
    first = probe_accuracy(train, labels, test, test_labels, classes=3, protocol="standard")
    second = probe_accuracy(
        with_constant[0], labels, with_constant[1], test_labels, classes=3, protocol="standard"
    )
    assert first == second


def test_paper_protocol_is_scikit_learn_on_raw_features_at_the_published_penalty() -> None:
    train, labels, test, test_labels = tensors()
    reference = sklearn.linear_model.LogisticRegression(
        C=1 / (2 * len(train) * 1e-3), tol=1e-10, max_iter=10000
    ).fit(train.double().numpy(), labels.numpy())
    expected = 100 * reference.score(test.double().numpy(), test_labels.numpy())
    got = probe_accuracy(train, labels, test, test_labels, classes=3, protocol="paper")
    assert got == pytest.approx(expected)


@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_separable_classes_are_all_told_apart(protocol: str) -> None:
    labels = torch.arange(30) % 3
    noise = 0.1 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    features = 5 * torch.eye(3)[labels] + noise
    got = probe_accuracy(
        features[:15], labels[:15], features[15:], labels[15:], classes=3, protocol=protocol
    )
    assert got == 100


def test_labels_that_say_nothing_give_chance() -> None:
    draws = torch.Generator().manual_seed(0)
    train, test = torch.randn(40, 5, generator=draws), torch.randn(4000, 5, generator=draws)
    labels, test_labels = torch.arange(40) % 4, torch.arange(4000) % 4
    got = probe_accuracy(train, labels, test, test_labels, classes=4, protocol="standard")
    assert got == pytest.approx(25, abs=4)


# Labelled examples


def counts(index: Tensor, task: Task) -> list[int]:
    return task.train_labels[index].bincount(minlength=3).tolist()


@pytest.mark.parametrize(
    "choice, expected",
    [
        ({"fraction": 0.02}, [1, 1, 1]),  # at least one
        ({"fraction": 0.1}, [1, 2, 3]),
        ({"fraction": 0.5}, [5, 10, 15]),
        ({"fraction": 1.0}, [10, 20, 30]),
        ({"per_class": 1}, [1, 1, 1]),
        ({"per_class": 10}, [10, 10, 10]),
    ],
)
def test_labelled_examples_are_stratified(
    choice: dict[str, float], expected: list[int], tiny_task: Task
) -> None:
    index = labelled_indices(tiny_task, seed=0, **choice)  # type: ignore[arg-type]
    assert counts(index, tiny_task) == expected
    assert len(index.unique()) == len(index)
    assert torch.equal(index, index.sort().values)


def test_labelled_examples_depend_on_seed_and_draw_alone(tiny_task: Task) -> None:
    first = labelled_indices(tiny_task, fraction=0.5, seed=0)
    torch.manual_seed(3)
    assert torch.equal(labelled_indices(tiny_task, fraction=0.5, seed=0), first)
    for other in ({"seed": 1}, {"seed": 0, "draw": 1}):
        assert not torch.equal(labelled_indices(tiny_task, fraction=0.5, **other), first)


def test_more_labels_contain_fewer(tiny_task: Task) -> None:
    sets = [
        set(labelled_indices(tiny_task, fraction=f, seed=0).tolist()) for f in (0.1, 0.3, 0.6, 1.0)
    ]
    assert all(small < large for small, large in pairwise(sets))


@pytest.mark.parametrize(
    "choice, message",
    [
        ({"fraction": 0.0}, r"outside \(0, 1\]"),
        ({"fraction": 1.1}, r"outside \(0, 1\]"),
        ({"fraction": float("nan")}, r"outside \(0, 1\]"),
        ({"per_class": 0}, "at least 1"),
        ({"per_class": 11}, "class upright has 10 training images"),
        ({}, "either a label fraction or a count"),
        ({"fraction": 0.1, "per_class": 2}, "either a label fraction or a count"),
    ],
)
def test_label_choices_that_cannot_be_are_refused(
    choice: dict[str, float], message: str, tiny_task: Task
) -> None:
    with pytest.raises(DecoctError, match=message):
        labelled_indices(tiny_task, seed=0, **choice)  # type: ignore[arg-type]


# The whole


@pytest.fixture
def encoder(tiny_task: Task) -> Encoder:
    config = NetworkConfig(width=4, depth=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_network(config, channels=3, size=16, outputs=1)
    mean, std = tiny_task.train.mean, tiny_task.train.std
    return Encoder(network=network, config=config, size=16, mean=mean, std=std)


CONFIG = ProbeConfig(fractions=(0.1, 1.0), per_class=(2,), draws=2)


def test_one_score_for_every_choice_of_labels_and_draw(encoder: Encoder, tiny_task: Task) -> None:
    scores = probe(encoder=encoder, task=tiny_task, config=CONFIG)
    assert [(s.labels, s.draw) for s in scores] == [
        ("10%", 0),
        ("10%", 1),
        ("100%", 0),
        ("100%", 1),
        ("2 a class", 0),
        ("2 a class", 1),
    ]
    assert {s.task for s in scores} == {"stripes"}
    assert all(0 <= s.accuracy <= 100 for s in scores)
    assert scores[2].accuracy == scores[3].accuracy  # all the labels are one choice
    assert scores[2].accuracy > 60  # stripes are easy; a guess gets 33


def test_probe_repeats(encoder: Encoder, tiny_task: Task) -> None:
    first = probe(encoder=encoder, task=tiny_task, config=CONFIG, seed=3)
    torch.manual_seed(8)
    assert probe(encoder=encoder, task=tiny_task, config=CONFIG, seed=3) == first


def test_every_encoder_gets_the_same_labelled_examples(
    encoder: Encoder, tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[list[int]]] = []

    def record(
        train: Tensor,
        labels: Tensor,
        index: Tensor,
        _: Tensor,
        test_labels: Tensor,
        **__: int | str,
    ) -> Tensor:
        seen[-1] += labels[index].tolist()
        assert train.isfinite().all()
        return torch.zeros(len(index), len(test_labels), dtype=torch.bool)

    chosen: list[list[Tensor]] = []
    real: Callable[..., Tensor] = module.labelled_indices

    def keep(*arguments: Task, **more: int) -> Tensor:
        index = real(*arguments, **more)
        chosen[-1].append(index)
        return index

    monkeypatch.setattr(module, "probe_hits", record)
    monkeypatch.setattr(module, "labelled_indices", keep)
    bright = replace(encoder, std=encoder.std * 2)
    for one in (encoder, bright):
        seen.append([])
        chosen.append([])
        probe(encoder=one, task=tiny_task, config=CONFIG)
    assert seen[0] == seen[1]
    assert all(torch.equal(a, b) for a, b in zip(*chosen, strict=True))


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"protocol": "best"}, r"probe\.protocol is 'best'; it must be standard or paper"),
        ({"fractions": (0.0,)}, r"probe\.fractions is 0; it must be above 0"),
        ({"fractions": (0.5, 2.0)}, r"probe\.fractions is 2; it must be above 0 and at most 1"),
        ({"per_class": (0,)}, r"probe\.per_class is 0; it must be at least 1"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object], message: str) -> None:
    with pytest.raises(DecoctError, match=message):
        ProbeConfig(**bad)  # type: ignore[arg-type]


def test_a_task_whose_test_labels_are_unknown_in_training_is_refused(tiny_task: Task) -> None:
    labels = tiny_task.test_labels.clone()
    labels[0] = 3
    with pytest.raises(DecoctError, match="unknown in training"):
        Task(name="x", train=tiny_task.train, test=replace(tiny_task.test, labels=labels))


def test_a_task_of_a_single_class_is_refused(tiny_task: Task) -> None:
    one: list[Images] = [
        replace(part, labels=torch.zeros(len(part), dtype=torch.int64))
        for part in (tiny_task.train, tiny_task.test)
    ]
    with pytest.raises(DecoctError, match="single class"):
        Task(name="x", train=one[0], test=one[1])


def test_accuracies_by_class_make_up_the_whole(tiny_task: Task, encoder: Encoder) -> None:
    labels = tiny_task.test_labels
    members = {tiny_task.class_name(int(c)): int((labels == c).sum()) for c in labels.unique()}
    for score in probe(encoder=encoder, task=tiny_task, config=CONFIG):
        assert set(score.by_class) == set(members)
        parts = sum(share * members[name] for name, share in score.by_class.items())
        assert parts / len(labels) == pytest.approx(score.accuracy, abs=0.01)
