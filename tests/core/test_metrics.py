"""Numbers by step are kept whatever happens to the process, and never make one wait."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from decoct.core.errors import DecoctError
from decoct.core.metrics import Metrics


def test_a_line_that_was_cut_short_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"time": 1, "loss": 2}\n{"time": 2, "lo')
    Metrics(path).write(loss=3)
    Metrics(path).write(loss=4)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["loss"] for line in (lines[0], *lines[2:])] == [2, 3, 4]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(DecoctError, match="is a pipe"):
        Metrics(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("step", ["mkdir", "open"])
def test_a_full_disk_is_a_sentence(step: str, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(DecoctError, match=r"no space left.*metrics.jsonl|no space left.*folder"):
        Metrics(tmp_path / "folder" / "metrics.jsonl").write(loss=3)
