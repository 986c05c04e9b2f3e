"""Stages that several processes make: in which turns, and the same bits as by one."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoct.core import ranks
from decoct.core.errors import DecoctError
from decoct.run import agreement
from decoct.run.agreement import check_agreement, folder_of_all
from decoct.run.division import make_together, seconds_together, turns
from decoct.run.graph import Graph
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe
from decoct.run.seconds import add_seconds, known_processes, known_seconds
from decoct.run.stage import Stage
from tests.processes import Processes
from tests.run.kills import contents

WANTED = ("experts", "views-seed0", "random-seed0")


def stage(name: str, parts: int = 1, sort: str = "") -> Stage[None]:
    return Stage(name, (), settings=(), make=lambda inputs, place: None, parts=parts, sort=sort)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "x", "y"])), max_size=12),
    st.integers(2, 5),
    st.randoms(use_true_random=False),
)
def test_every_stage_has_one_turn_after_those_it_needs(
    kinds: list[tuple[int, str]], world: int, draws: Any
) -> None:
    stages = [stage(str(i), parts, sort) for i, (parts, sort) in enumerate(kinds)]
    needs = {
        s.name: {str(j) for j in range(i) if draws.random() < 0.3} for i, s in enumerate(stages)
    }
    done: set[str] = set()
    for turn in turns(stages, needs, world):
        names = {s.name for s in turn.stages}
        assert all(needs[name] <= done for name in names) and not names & done
        assert len(turn.stages) == 1 if turn.by_all else True
        assert not turn.by_all or turn.stages[0].parts > 1
        shared = [s.name for rank in range(world) for s in turn.of(rank, world)]
        assert turn.by_all or sorted(shared) == sorted(names)
        done |= names
    assert done == needs.keys()


def test_one_of_a_sort_for_each_process_are_made_side_by_side() -> None:
    encoders = [stage(f"e{i}", parts=8, sort="pre-training") for i in range(5)]
    needs = {s.name: set[str]() for s in encoders}
    found = [[s.name for s in turn.stages] for turn in turns(encoders, needs, 2)]
    assert found == [["e0"], ["e1", "e2", "e3", "e4"]]
    seconds = dict.fromkeys(needs, 10.0)
    assert sum(seconds_together(encoders, needs, seconds, 2).values()) == pytest.approx(25)
    assert sum(seconds_together(encoders, needs, seconds, 4).values()) == pytest.approx(12.5)


def make_wanted(recipe: Path, folder: Path, names: Sequence[str] = WANTED) -> None:
    run = Run(load_recipe(recipe), folder)
    with folder_of_all(folder):
        make_together(run, names)
    if ranks.is_first():
        with ranks.alone():
            for name in names:
                run.get(name)


def make_divided(recipe: Path, folder: Path, names: Sequence[str]) -> None:
    """The same, where a stage says that all can help; each does all of it, and the first writes."""
    one = Graph.stage
    with patch.object(Graph, "stage", lambda g, name: replace(one(g, name), parts=3)):
        make_wanted(recipe, folder, names)


def test_four_processes_make_the_same_bits(
    tiny_recipe: Recipe, tmp_path: Path, four_processes: Processes
) -> None:
    mine = tmp_path / "mine.yaml"
    make_wanted(mine, tmp_path / "one")
    expected = contents(tmp_path / "one")
    assert {Path(name).name for name in expected} >= {"00000.safetensors", "targets.safetensors"}
    for assistant in (tmp_path / "one").glob("assistant-*"):  # of which four add up other sums
        shutil.copytree(assistant, tmp_path / "four" / assistant.name)
    four_processes.call(make_wanted, mine, tmp_path / "four")
    assert contents(tmp_path / "four") == expected


def test_of_a_stage_that_all_make_the_first_keeps_the_result(
    tiny_recipe: Recipe, tmp_path: Path, two_processes: Processes
) -> None:
    mine, names = tmp_path / "mine.yaml", ("experts", "random-seed0")
    make_wanted(mine, tmp_path / "one", names)
    two_processes.call(make_divided, mine, tmp_path / "two", names)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    made_by = {f.parent.name: known_processes(f) for f in tmp_path.glob("two/*/seconds.json")}
    assert set(made_by.values()) == {2}


def refusals(recipes: Sequence[Path], folders: Sequence[Path]) -> list[str]:
    """What this rank says to its recipe, and to its folder."""
    found, rank = [], ranks.rank()
    recipe, folder = load_recipe(recipes[rank]), folders[rank]
    with patch.object(agreement, "_APPEARS_S", 0.1):
        for action in (check_agreement, lambda _, folder: folder_of_all(folder).__enter__()):
            try:
                action(recipe, folder)
                found.append("")
            except DecoctError as error:
                found.append(f"{type(error).__name__}: {error}")
    return found


def test_what_differs_is_refused(
    tiny_recipe: Recipe, tmp_path: Path, two_processes: Processes
) -> None:
    mine, other, out = tmp_path / "mine.yaml", tmp_path / "other" / "mine.yaml", tmp_path / "run"
    other.parent.mkdir()
    other.write_text(mine.read_text() + "seed: 7\n")
    assert two_processes.call(refusals, [mine, mine], [out, out]) == [["", ""], ["", ""]]
    first, second = two_processes.call(refusals, [mine, other], [out, tmp_path / "elsewhere"])
    assert "rank 1 on" in first[0] and "has another recipe (seed: 7) than rank 0" in first[0]
    assert f"does not see what rank 0 writes to {out}; give a folder" in first[1]
    assert all(said.startswith("DecoctError") for said in first)
    assert all(said.startswith("SaidByFirstError") for said in second)
    first, _ = two_processes.call(refusals, [mine, mine], [out, tmp_path / "elsewhere"])
    assert f"has another folder ({tmp_path / 'elsewhere'}) than rank 0" in first[0]


def no_replacing(folder: Path) -> str:
    no_move = OSError(18, "Invalid cross-device link")
    with (
        patch.object(Path, "replace", side_effect=[None, None, no_move]),
        patch("decoct.core.atomic._sync"),
        pytest.raises(DecoctError) as refused,
    ):
        folder_of_all(folder).__enter__()
    return str(refused.value)


def test_a_file_system_that_cannot_replace_files_is_refused(
    tmp_path: Path, two_processes: Processes
) -> None:
    for said in two_processes.call(no_replacing, tmp_path):
        assert said.startswith(f"no file can be replaced in {tmp_path} ([Errno 18] Invalid")


def test_seconds_say_how_many_processes_there_were(tmp_path: Path) -> None:
    file = tmp_path / "seconds.json"
    assert known_processes(file) == 1
    for processes, most in ((1, 1), (4, 4), (2, 4)):
        add_seconds(file, 1.5, processes=processes)
        assert known_processes(file) == most
    assert known_seconds(file) == 4.5
