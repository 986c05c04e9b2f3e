"""What a plan decides from a look at a folder and the time allowed, and what it says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decoct.core.errors import DecoctError
from decoct.data.survey import Survey
from decoct.run import plan as plan_module
from decoct.run.plan import Draft, Plan, Wishes, plan
from decoct.run.recipe import load_recipe
from decoct.training.best_teacher import AvailableTeacher

DINO = AvailableTeacher(
    source="timm:vit_small_patch16_dinov3.lvd1689m",
    title="DINOv3 small",
    licence="its own licence",
    size=224,
    cached=True,
)
FOUND = Survey(
    folder=Path("photos"),
    pictures=2000,
    looked_at=2000,
    shorter_sides=(20, 480, 3000),
    formats={"JPEG": 1500, "PNG": 500},
    unreadable={},
    unsupported={},
    classes={},
    parts={},
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose survey is given; a machine on which a pixel more takes longer."""

    def seconds(stages: Any, sizes: Any, device: Any) -> Mapping[str, float]:
        """A step of the teacher takes a second at 32 px, and the rest ten for each probed set."""
        area = (sizes.size / 32) ** 2
        judged = [stage for stage in stages if stage.sort == "judging without labels"]
        trained = {s.name: 300 * area for s in stages if s.name == "teacher" and s.artefact}
        return trained | {stage.name: 10 * area for stage in judged}

    monkeypatch.setattr(plan_module, "seconds_by_name", seconds)
    monkeypatch.setattr(plan_module, "best_teacher", lambda: (None, "there is none"))
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def planned(folder: Path, found: Survey = FOUND, draft: Draft | None = None, **wishes: Any) -> Plan:
    draft = draft or Draft(load_recipe("pictures"))
    return plan(draft, folder=folder, found=found, wishes=Wishes(**wishes))


def test_the_teacher_is_trained_for_the_time_that_the_rest_leaves(photos: Path) -> None:
    # five methods, three seeds, ten seconds each: 150 s at 32 px and 600 s at 64 px
    made = planned(photos, time="15min").recipe
    assert (made.images.size, made.compare.seeds) == (32, 3)
    assert made.teacher.ssl.steps == 900 - 150
    made = planned(photos, time="30min").recipe
    assert (made.images.size, made.teacher.ssl.steps) == (64, (1800 - 600) // 4)


def test_devices_that_share_the_work_have_time_for_more(photos: Path) -> None:
    """For larger pictures, of which a step takes four seconds, and judging all sets 600."""
    draft, wishes = Draft(load_recipe("pictures")), Wishes(time="15min")
    made = plan(draft, folder=photos, found=FOUND, wishes=wishes, devices=3)
    assert (made.recipe.images.size, made.recipe.compare.seeds) == (64, 3)
    others = 900 - made.recipe.teacher.ssl.steps * 4 / 3
    assert 600 / 3 <= others < 600  # sets that wait for others are not shared evenly
    assert made.lines[-1].startswith("takes: about 15.0 min on 3 devices (cpu)")


def test_less_time_costs_seeds_before_it_costs_the_teacher(photos: Path) -> None:
    made = planned(photos, time="300s").recipe
    assert (made.images.size, made.compare.seeds) == (32, 1)
    assert made.teacher.ssl.steps == 300 - 50


def test_too_little_time_is_said(photos: Path) -> None:
    made = planned(photos, time="60s")
    assert made.recipe.teacher.ssl.steps == 200
    assert "about 4.2 min" in made.lines[-1] and "more than the 60 s allowed" in made.lines[-1]


def test_endless_time_is_not_used_up(photos: Path) -> None:
    assert planned(photos, time="2d").recipe.teacher.ssl.steps == 2000


def test_small_pictures_are_not_enlarged(photos: Path) -> None:
    small = replace(FOUND, shorter_sides=(16, 40, 64))
    assert planned(photos, small, time="2d").recipe.images.size == 32


def test_what_was_said_is_not_decided(photos: Path) -> None:
    recipe = load_recipe("pictures").set("images.size", 48).set("compare.seeds", 3)
    said = Draft(recipe, frozenset({"images.size", "compare.seeds"}))
    made = planned(photos, draft=said, time="60s").recipe
    assert (made.images.size, made.compare.seeds) == (48, 3)
    said = Draft(load_recipe("pictures"), frozenset({"teacher.ssl.steps"}))
    assert planned(photos, draft=said, time="2d").recipe.teacher.ssl.steps == 300


def test_a_teachers_length_may_be_said_in_epochs(photos: Path) -> None:
    recipe = load_recipe("pictures").set("teacher.ssl.steps", 0).set("teacher.ssl.epochs", 30)
    made = planned(photos, draft=Draft(recipe, frozenset({"teacher.ssl.steps"})), time="2d")
    assert made.recipe.teacher.ssl.steps == 0
    assert made.lines[2].startswith("teacher: 30 epochs of simclr")


def test_the_best_teacher_at_hand_is_taken_and_its_licence_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "best_teacher", lambda: (DINO, ""))
    made = planned(photos)
    teacher = made.recipe.teacher
    assert (teacher.train, teacher.source, teacher.size) == (False, DINO.source, 224)
    assert "DINOv3 small (its own licence)" in made.lines[2]
    assert planned(photos, teacher="train").recipe.teacher.train
    assert planned(photos, teacher="mine.pt").recipe.teacher.source == "mine.pt"


def test_it_says_why_the_teacher_is_trained_here(photos: Path) -> None:
    line = planned(photos, time="15min").lines[2]
    assert line == "teacher: 750 steps of simclr on these pictures (there is none)"


def test_class_folders_judge_and_their_test_pictures_are_not_learnt_from(photos: Path) -> None:
    labelled = replace(FOUND, classes={"cats": 1000, "dogs": 1000})
    made = planned(photos, labelled).recipe
    assert made.compare.tasks == (str(photos),)
    assert made.images.source == f"{photos}@train"
    made = planned(photos, labelled, labels="none").recipe
    assert (made.compare.tasks, made.images.source) == ((), str(photos))
    rare = replace(FOUND, classes={"cats": 1990, "dogs": 3})  # too few to tell anything
    assert planned(photos, rare).recipe.compare.tasks == ()


def test_other_labelled_pictures_judge_what_is_learnt_from_all(photos: Path) -> None:
    made = planned(photos, replace(FOUND, classes={"a": 99, "b": 99}), labels="birds.npz")
    assert made.recipe.compare.tasks == ("birds.npz",)
    assert made.recipe.images.source == str(photos)
    assert "linear probes on birds.npz" in made.lines[1]


def test_few_pictures_make_a_smaller_set_and_fewer_dimensions(photos: Path) -> None:
    made = planned(photos, replace(FOUND, pictures=100)).recipe
    assert (made.size, made.targets.components) == (25, 25)
    with pytest.raises(DecoctError, match=r"photos holds 63 pictures; .* at least 64"):
        planned(photos, replace(FOUND, pictures=63))


def test_of_very_many_pictures_no_more_than_enough_are_held_out(photos: Path) -> None:
    many = planned(photos, replace(FOUND, pictures=100_000)).recipe
    assert many.images.left_out(100_000) == 2000


def test_what_cannot_be_read_is_said(photos: Path) -> None:
    broken = replace(FOUND, unreadable={"a.png": "truncated"}, unsupported={".heic": 7})
    line = planned(photos, broken).lines[0]
    assert "2,000 pictures (JPEG, PNG)" in line and "20 to 3,000 pixels" in line
    assert "1 of 2,000 looked at cannot be read" in line and "7" in line and "heif" in line
