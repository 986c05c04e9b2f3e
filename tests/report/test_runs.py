"""Keeping order among runs: what there is, how two differ, and what can go."""

from pathlib import Path

import pytest

from decoct.cli import main
from decoct.evaluation.scores import Score, Scores
from decoct.run.recipe import Recipe


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main([str(argument) for argument in arguments])
    return status, "".join(capsys.readouterr())


def cells(line: str) -> list[str]:
    return [cell for cell in line.split("  ") if cell.strip()]


@pytest.fixture
def runs(tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Two runs of `random`, of 9 and of 5 images, and a folder that is no run."""
    file = tmp_path / "mine.yaml"
    text = file.read_text().replace("tasks: [stripes.npz]", "tasks: []")
    file.write_text(text.replace(", holdout: 0.25", ""))
    folder = tmp_path / "runs"
    common = ("stage", "pretrain", file, "--method", "random")
    assert say(capsys, *common, "--out", folder / "nine")[0] == 0
    assert say(capsys, *common, "--out", folder / "five", "--size", "5")[0] == 0
    (folder / "photos").mkdir()
    return folder


def test_the_runs_in_a_folder(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"random": 40.0, "full": 60.0, "mkdt": 45.0}
    scores = [Score(m, seed, "t", "5%", 0, a + seed) for m, a in found.items() for seed in (0, 1)]
    Scores(tuple(scores)).save(runs / "nine/scores.json")
    (next((runs / "five").glob("random-*")) / "distilled.safetensors").unlink()
    status, said = say(capsys, "runs", runs)
    header, *lines = said.splitlines()
    assert status == 0 and header.split()[:4] == ["run", "recipe", "state", "stages"]
    table = {cells(line)[0]: [cell.strip() for cell in cells(line)[1:]] for line in lines}
    assert set(table) == {"nine", "five"}
    assert table["nine"][:3] == ["mine", "finished", "4 of 4"]
    assert table["nine"][4].startswith("mkdt 45.5")  # full makes no set
    assert table["five"][1] == "at work?" and table["five"][2].startswith("3 of 4")
    assert "there is no run in" in say(capsys, "runs", runs / "photos")[1]


def test_two_runs_side_by_side(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, methods in (("nine", ("random", "mkdt")), ("five", ("random", "sas"))):
        scores = [Score(m, s, "t", "5%", 0, 40.0 + s) for m in methods for s in (0, 1)]
        Scores(tuple(scores)).save(runs / name / "scores.json")
    status, said = say(capsys, "runs", "compare", runs / "nine", runs / "five")
    lines = [line.split() for line in said.splitlines()]
    assert status == 0 and ["size", "9", "5"] in lines
    assert [line[0] for line in lines if line][:1] == ["setting"]
    assert not any(line[:1] == ["seed"] for line in lines)
    scored = [line for line in lines if line[:1] == ["random"]]
    assert scored and scored[0].count("40.5") == 2 and ["mkdt"] not in [x[:1] for x in lines]
    assert "5% of the labels" in said
    assert "takes two runs" in say(capsys, "runs", "compare", runs / "nine")[1]


def test_clean_deletes_only_what_the_recipe_does_not_reach(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs / "nine"
    common = ("stage", "pretrain", tmp_path / "mine.yaml", "--method", "random", "--out", run)
    old = [*run.glob("random-*"), *run.glob("encoder-*")]
    users = run / "notes-0123456789abcdef"  # by its name it might be a stage
    users.mkdir()
    (users / "mine.txt").write_text("mine")
    assert say(capsys, *common, "--size", "7")[0] == 0
    before = {path for path in run.rglob("*") if not {path, *path.parents} & {*old}}
    status, said = say(capsys, "clean", run)
    assert (
        status == 0 and all(folder.name in said for folder in old) and "nothing is deleted" in said
    )
    assert users.name not in said and "images-" not in said
    (run / "run.json").rename(tmp_path / "kept")
    (tmp_path / "pool.npz").rename(tmp_path / "elsewhere.npz")
    status, said = say(capsys, "clean", run, "--yes")
    assert status == 2 and "is not there" in said and old[0].exists()  # nobody can tell
    (tmp_path / "elsewhere.npz").rename(tmp_path / "pool.npz")
    (tmp_path / "kept").rename(run / "run.json")
    status, said = say(capsys, "clean", run, "--yes")
    assert status == 0 and "deleted: 2" in said
    assert {*run.rglob("*")} == before
    assert "nothing to delete" in say(capsys, "clean", run)[1]
    assert "is not the folder of a run" in say(capsys, "clean", users)[1]


def test_a_shipped_recipe_to_begin_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = say(capsys, "recipe", "demo")
    assert status == 0 and said.startswith("# The embedded emoji")
    assert "perhaps you meant demo?" in say(capsys, "recipe", "dmo")[1]
    assert say(capsys, "recipe")[0] == 2
