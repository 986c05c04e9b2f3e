"""What else a run's folder contains besides its stages, and what happens to it."""

import os
import time
from pathlib import Path

import pytest

from decoct.core.errors import DecoctError
from decoct.run.folder import StageFolders

HOUR_S = 3600.0


@pytest.mark.parametrize("name", [".teacher.safetensors.123.tmp", ".tmpLJ4jiH"])
def test_what_killed_runs_left_half_written_goes_once_it_is_old(tmp_path: Path, name: str) -> None:
    done, under_way = (tmp_path / f"{stage}-0123456789abcdef" for stage in ("teacher", "experts"))
    old, new = done / name, under_way / name
    # Not ours: an artefact, and other files next to the stages of a run.
    others = [done / "teacher.safetensors", tmp_path / name, tmp_path / "thesis-notes" / name]
    for file in (old, new, *others):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a part of it")
    for file in (old, *others):
        os.utime(file, (time.time() - HOUR_S,) * 2)
    with StageFolders(tmp_path).timed("next", tmp_path / "next-0123456789abcdef"):
        pass
    assert not old.exists()
    assert new.exists() and all(file.exists() for file in others)


def test_another_machines_clock_does_not_cost_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "next-0123456789abcdef"
    folder.mkdir()
    (folder / ".a.safetensors.0123456789abcdef.tmp").write_bytes(b"a part of it")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    StageFolders(tmp_path).sweep()
    assert len(list(folder.iterdir())) == 1


def test_recipes_left_half_written_go_once_they_are_old(tmp_path: Path) -> None:
    ours = [
        ".recipe.yaml.0123456789abcdef.tmp",
        ".recipe.yaml.123.tmp",
        ".run.json.0123456789abcdef.tmp",
    ]
    others = [".recipe.yaml.swp", ".notes.tmp", ".notes.0123.tmp", "recipe.yaml"]
    for name in (*ours, *others):
        (tmp_path / name).write_text("a part of it")
        os.utime(tmp_path / name, (time.time() - HOUR_S,) * 2)
    StageFolders(tmp_path).sweep()
    assert {path.name for path in tmp_path.iterdir()} == set(others)


@pytest.mark.parametrize(
    "content",
    ["null", "[]", "3", "", "{}", '{"seconds": null}', '{"seconds": [1]}', '{"seconds": "a"}',
     '{"seconds": NaN}', '{"seconds": -1}', "[" * 100_000, "\xff",
     '{"seconds": 1' + 400 * "0" + "}"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_stages_seconds_may_hold_anything(content: str, tmp_path: Path) -> None:
    folders = StageFolders(tmp_path)
    file = folders.of("teacher", "0123456789abcdef") / "seconds.json"
    file.parent.mkdir()
    file.write_text(content, encoding="latin-1")
    assert folders.seconds() == {}
    with folders.timed("teacher", file.parent):
        pass
    assert 0 <= folders.seconds()["teacher"] < 1


def test_a_link_in_an_artefacts_place_is_refused_before_the_work(tmp_path: Path) -> None:
    folders, made = StageFolders(tmp_path), []
    path = folders.of("teacher", "0123456789abcdef") / "a.json"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DecoctError, match="is a link"):
        folders.artefact("teacher", "0123456789abcdef", file="a.json", kind="k", make=made.append)
    assert not made
