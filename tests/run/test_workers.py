"""Processes that share a run's work: what they make, in which order, and how they fail."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.evaluation.scores import Scores
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.run.workers import Job, stage_jobs, workers


def squared(number: int) -> int:
    return number * number


def appended(file: Path, word: str) -> None:
    with file.open("a") as opened:
        opened.write(f"{word} ")


def refused() -> None:
    raise DecoctError("not like this")


def killed() -> None:
    os._exit(1)


def slow() -> None:
    time.sleep(60)


def test_jobs_return_what_their_functions_do() -> None:
    with workers(2) as pool:
        jobs = {str(n): Job(squared, (n,)) for n in range(5)}
        assert pool.do(jobs, label="squares") == {str(n): n * n for n in range(5)}
        assert pool.do({}, label="nothing") == {}


def test_a_job_comes_after_those_that_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "order"
    jobs = {
        "third": Job(appended, (file, "third"), frozenset(["second", "known long ago"])),
        "second": Job(appended, (file, "second"), frozenset(["first"])),
        "first": Job(appended, (file, "first")),
    }
    with workers(3) as pool:
        pool.do(jobs, label="in order")
    assert file.read_text().split() == ["first", "second", "third"]


def test_an_error_reaches_the_user_and_ends_the_others() -> None:
    start = time.monotonic()
    with pytest.raises(DecoctError, match="not like this"), workers(2) as pool:
        pool.do({"slow": Job(slow, ()), "refused": Job(refused, ())}, label="doomed")
    assert time.monotonic() - start < 50  # it did not wait for the slow one


def test_an_error_leaves_the_processes_of_others_alone() -> None:
    """Those of a caller's own, such as the ones that load data in a notebook."""
    own = multiprocessing.get_context("spawn").Process(target=slow, daemon=True)
    own.start()
    with pytest.raises(DecoctError, match="not like this"), workers(1) as pool:
        pool.do({"refused": Job(refused, ())}, label="doomed")
    own.join(0.5)
    assert own.exitcode is None
    own.kill()


def test_a_killed_process_is_a_sentence() -> None:
    with pytest.raises(DecoctError, match="fewer --jobs"), workers(1) as pool:
        pool.do({"killed": Job(killed, ())}, label="doomed")


def test_a_stage_waits_for_the_kept_stages_below_it(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.set("compare.methods", ("mkdt",))
    graph = Graph(recipe)
    jobs = stage_jobs(Run(recipe, tmp_path), graph.asked_for())
    keys = {stage.name: f"{stage.name}-{graph.key(stage.name)}" for stage in graph.of_a_run()}
    assert jobs.keys() <= set(keys.values())
    assert keys["tasks"] not in jobs  # each process reads them again: there is no file
    assert keys["experts"] in jobs[keys["mkdt-seed0"]].needs
    assert jobs[keys["probe-mkdt-seed0"]].needs == {keys["encoder-mkdt-seed0"]}


def test_shared_work_gives_the_same_scores(tiny_recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(tiny_recipe.to_yaml())
    for name, jobs in (("alone", "1"), ("shared", "2")):
        assert main(["compare", str(file), "--out", str(tmp_path / name), "--jobs", jobs]) == 0
    alone, shared = (Scores.load(tmp_path / name / "scores.json") for name in ("alone", "shared"))
    assert alone.scores == shared.scores


def test_no_processes_are_refused(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(tiny_recipe.to_yaml())
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(file), "--out", str(tmp_path / "run"), "--jobs", "0"])
    assert "jobs is 0; it must be at least 1" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(DecoctError, match="--jobs 0: give 1 or more"), workers(0):
        pass
