"""What a run's folder holds beside its stages, and what becomes of it."""

import os
import time
from pathlib import Path

import pytest

from decoct.stages import Stages

HOUR_S = 3600.0


@pytest.mark.parametrize("name", [".teacher.safetensors.123.tmp", ".tmpLJ4jiH"])
def test_what_killed_runs_left_half_written_goes_once_it_is_old(tmp_path: Path, name: str) -> None:
    old, new = tmp_path / "done" / name, tmp_path / "under-way" / name
    others = [tmp_path / "done" / "teacher.safetensors", tmp_path / ".tmpoff"]
    for file in (old, new, *others):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a part of it")
    for file in (old, *others):
        os.utime(file, (time.time() - HOUR_S,) * 2)
    with Stages(tmp_path).timed("next", tmp_path / "next"):
        pass
    assert not old.exists()
    assert new.exists() and all(file.exists() for file in others)
