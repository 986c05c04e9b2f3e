"""Verbs that make one method's stage."""

from pathlib import Path

import pytest

from decoct.cli import main
from decoct.run.recipe import Recipe, load_recipe


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main([str(argument) for argument in arguments])
    return status, " ".join("".join(capsys.readouterr()).split())


def test_any_method_one_stage_at_a_time(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (tmp_path / "mine.yaml", "--out", tmp_path / "run", "--method")
    status, said = say(capsys, "stage", "distill", *common, "random")
    assert status == 0 and "distilled set by random, 9 images" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("distilled.*")}
    status, said = say(capsys, "stage", "pretrain", *common, "random")
    assert status == 0 and "encoder" in said
    status, said = say(capsys, "stage", "probe", *common, "random")
    assert status == 0 and "stripes, 30% of the labels: " in said
    assert {path: path.stat().st_mtime_ns for path in before} == before  # found, not made again


@pytest.mark.parametrize(
    "stage, file",
    [
        ("load-images", "images"),
        ("compute-targets", "targets"),
        ("train-assistant", "assistant"),
        ("train-experts", "00000"),
        ("difficulty", "difficulty"),
    ],
)
def test_a_stage_describes_what_it_made(
    stage: str,
    file: str,
    tiny_recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):  # made, and found
        status, said = say(capsys, "stage", stage, tmp_path / "mine.yaml", "--out", tmp_path)
        assert status == 0 and said.startswith(f"{file}.safetensors: "), said


@pytest.mark.parametrize(
    "method, stages",
    [
        ("views", {"assistant", "k-means-seed0", "views-seed0"}),
        ("krr-st", {"random-seed0", "krr-st-seed0"}),
        ("mtt-ssl", {"ssl-experts", "mtt-ssl-seed0"}),
        ("mkdt", {"experts", "difficulty", "high-loss-seed0", "mkdt-seed0"}),
        ("ssl-random", {"encoder-ssl-random-seed0"}),
        ("full", {"encoder-full-seed0"}),
    ],
)
def test_without_tasks_a_run_ends_in_the_recipes_method(
    method: str,
    stages: set[str],
    tiny_recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "mine.yaml"
    text = path.read_text().replace("tasks: [stripes.npz]", "tasks: []")
    path.write_text(text.replace(", holdout: 0.25", ""))  # so that nothing judges it
    out = tmp_path / "run"
    status, said = say(capsys, "run", path, "--out", out, "--method", method)
    made_a_set = f"{method}-seed0" in stages
    assert status == 0 and (out / "report.html").exists()
    assert ("9 images" if made_a_set else "encoder, convnet") in said
    made = {folder.name.rpartition("-")[0] for folder in out.glob("*/")}
    assert made - {"images", "targets"} == stages | {f"encoder-{method}-seed0"}


@pytest.mark.parametrize(
    "verb, method, sentence",
    [
        ("stage distill", "sass", "method 'sass' is unknown; perhaps you meant sas?"),
        ("stage distill", "full", "--method full is unknown here"),
        ("stage pretrain", "none", "--method none is unknown here"),
        ("run --compare.tasks --images.holdout=0", "teacher", "--method teacher is unknown here"),
        ("stage probe", "mkd", "perhaps you meant mkdt?"),
    ],
)
def test_methods_that_a_verb_does_not_know(
    tiny_recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    method: str,
    sentence: str,
) -> None:
    where = (tmp_path / "mine.yaml", "--out", tmp_path / "run")
    words = verb.split()
    flags = [word for word in words if word.startswith("--")]
    verbs = [word for word in words if word not in flags]
    status, said = say(capsys, *verbs, *where, *flags, "--method", method)
    assert status == 2 and sentence in said
    assert not list((tmp_path / "run").glob("*/"))


def test_stages_are_counted_in_the_order_in_which_they_are_made(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run")]
    command += ["--compare.methods", "mkdt", "views"]
    assert main(command) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage ")]
    names = [line.rpartition(" ")[2] for line in said]
    count = len(list((tmp_path / "run").glob("*-*/")))
    assert said == [f"stage {i} of {count}: {name}" for i, name in enumerate(names, 1)]
    assert names.index("images") < names.index("mkdt-seed0") < names.index("probe-mkdt-seed0")
    assert main(command) == 0
    assert "stage " not in capsys.readouterr().err  # everything is there


def test_stages_have_moved(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = say(capsys, "load-images", "demo")
    assert status == 2 and "load-images is a stage now: decoct stage load-images RECIPE" in said
    status, said = say(capsys, "stage", "pretrian", "demo")
    assert status == 2 and "perhaps you meant pretrain?" in said


def test_diagnose_without_its_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, "diagnose", "demo") == (
        2,
        "decoct: decoct diagnose takes a word and a recipe: diagnose variance demo",
    )


def test_flags_of_earlier_versions_are_understood(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tmp_path / "mine.yaml", tmp_path / "run"
    old = ("--distill.batch", 3, "--distill.rate=0.3", "--compare.methods", "random", "full")
    status, said = say(capsys, "stage", "load-images", recipe, "--out", out, *old)
    assert status == 0 and "--distill.rate is now --matching.inner-lr" in said
    saved = load_recipe(out / "recipe.yaml")
    assert saved.matching.batch == saved.rule.batch == 3 and saved.matching.inner_lr == 0.3
    assert saved.compare.methods == ("random", "full")
