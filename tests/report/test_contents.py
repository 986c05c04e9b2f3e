"""Tests of the report's contents: the verdicts, and what it reads."""

import dataclasses
from pathlib import Path

import pytest
import torch

from decoct.core import storage
from decoct.evaluation.interval import Interval
from decoct.evaluation.scores import Row
from decoct.models.registry import NetworkConfig
from decoct.report.contents import read_contents
from decoct.report.verdicts import verdict
from decoct.training.pretrain import fresh_encoder


@pytest.mark.parametrize(
    ("over", "mark"),
    [
        (Interval(1.0, 0.9), "above"),
        (Interval(-1.0, 0.9), "below"),
        (Interval(1.0, 1.0), "within noise"),
        (Interval.of([1.0]), "one seed"),
    ],
)
def test_verdicts(over: Interval, mark: str) -> None:
    row = Row("mkdt", "5%", Interval(50.0, 1.0), {}, over, None)
    found = verdict(row)
    assert found is not None
    assert found.mark == mark
    sure = "noise" not in found.text
    assert sure == (mark in ("above", "below"))


def test_a_teacher_trained_here_gives_its_losses(tmp_path: Path) -> None:
    mean, std = torch.zeros(3), torch.ones(3)
    teacher = fresh_encoder(NetworkConfig(width=4), mean=mean, std=std, size=8, seed=0)
    teacher = dataclasses.replace(teacher, provenance={"losses": [3.0, 2.0]})
    teacher.save(tmp_path / "teacher-0/teacher.safetensors")
    content = {"stages": {"teacher": "teacher-0"}, "seconds": {}}
    storage.save_json(tmp_path / "run.json", content, kind="run")
    found = read_contents(tmp_path).teacher
    assert found.losses == (3.0, 2.0)
    assert found.text.startswith("The teacher was trained here")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("teacher: {source: embedded}", "in the box"),
        ("teacher: {source: 'timm:resnet18'}", "resnet18, from timm"),
        ("teacher: {source: mine.pt}", "brought along: mine.pt"),
        ("{teacher: {source: embedded}, targets: {source: targets.npy}}", "targets.npy"),
        ("teacher: [", ""),
        ("just text", ""),
    ],
)
def test_a_teacher_of_elsewhere_has_a_sentence_and_no_curve(
    tmp_path: Path, recipe: str, said: str
) -> None:
    storage.save_json(tmp_path / "run.json", {"stages": {}, "seconds": {}}, kind="run")
    (tmp_path / "recipe.yaml").write_text(recipe)
    contents = read_contents(tmp_path)
    assert said in contents.teacher.text and bool(said) == bool(contents.teacher.text)
    assert not contents.teacher.losses
    assert contents.name == tmp_path.name
    assert contents.recipe == recipe
