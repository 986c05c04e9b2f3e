"""What else a run's folder contains besides its stages, and what happens to it."""

import os
import time
from pathlib import Path

import pytest

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
