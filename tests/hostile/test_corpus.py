"""What fuzzing has found stays mended: the corpus is read again, input by input."""

import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from decoct.core.errors import DecoctError

CORPUS = Path(__file__).parent / "corpus"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SLOW_S = 2.0  # of processor time


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield import_module("fuzz_targets")
    del sys.modules["fuzz_targets"]


@pytest.mark.parametrize("name", ["artefacts", "recipes", "checkpoints", "arrays"])
def test_every_input_is_read_or_refused(name: str, targets: ModuleType, tmp_path: Path) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert len(inputs) > 5
    read = 0
    for i, file in enumerate(inputs):
        folder = tmp_path / str(i)
        folder.mkdir()
        start = time.process_time()
        try:
            targets.TARGETS[name](file.read_bytes(), folder)
            read += 1
        except (DecoctError, targets.Skip):
            pass
        except Exception as error:
            error.add_note(f"the input is {file}")
            raise
        assert time.process_time() - start < SLOW_S, file
    assert read > 3  # the good ones
