"""Text from outside on a terminal and in CSV: it controls nothing, and nothing crashes on it."""

import csv
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from decoct.cli import main
from decoct.core import console
from decoct.core.printable import as_text, one_line, printable
from decoct.data.images import Images
from decoct.report.feature_files import as_line, write_features
from tests.hostile.test_folders import NAMES

HOSTILE = "\x1b[31mred\x1b]0;owned\x07\r\x08\x9b2J\u202etxt\u2066\u2028\x7f\udcff"
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def test_what_is_printed_controls_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not _CONTROLS.search(printable(HOSTILE)) and printable(HOSTILE).isprintable()
    assert printable("two\nlines\tand é 漢 👩‍🚀") == "two\nlines\tand é 漢 👩‍🚀"
    assert one_line("two\nlines\t") == r"two\nlines\t"
    console.note(f"reading {HOSTILE} [bold]x[/bold] [/] :smile:")
    said = capsys.readouterr().err
    assert "[bold]x[/bold] [/] :smile:" in said and not _CONTROLS.search(said)


def test_a_progress_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=200, markup=False
    )
    monkeypatch.setattr(console, "console", terminal)
    with console.progress(f"reading {HOSTILE}[/]", total=2) as advance:
        advance("[/bold]\x1b[31m")
    said = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert r"reading \x1b[31mred\x1b]0;owned" in said and "[/]" in said
    assert "\x1b[31m" not in said and "\x07" not in said


@pytest.mark.parametrize("verb", ["show", "report", "run", "runs", "embed", "distill", "pull"])
def test_arguments_come_back_escaped(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, f"no/{HOSTILE}", *(["x", "--out", "y.csv"] if verb == "embed" else [])]) == 2
    said = "".join(capsys.readouterr())
    assert r"\x1b[31mred" in said and not _CONTROLS.search(said)


@pytest.fixture
def images(tmp_path: Path) -> str:
    """A file of images whose classes have hostile names."""
    pixels = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    names = (HOSTILE[:-1], "[red] é")
    Images.from_array(pixels, labels=[0, 1], class_names=names, size=8).save(
        tmp_path / "i.safetensors"
    )
    return str(tmp_path / "i.safetensors")


def test_classes_are_described_escaped(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", images]) == 0
    said = capsys.readouterr().out
    assert r"\x1b[31mred" in said and "[red] é" in said and not _CONTROLS.search(said)


def test_a_terminal_that_knows_ascii_alone(images: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert main(["show", images]) == 0
    assert main(["show", "nö\udcff"]) == 2
    console.note("é漢")
    out, error = (stream.buffer.getvalue().decode("ascii") for stream in streams)  # type: ignore[attr-defined]
    assert (
        r"[red] \xe9" in out and r"n\xf6\udcff does not exist" in error and r"\xe9\u6f22" in error
    )


def test_names_can_be_had_back_from_csv_and_lines(tmp_path: Path) -> None:
    names = [as_text(name) for name in NAMES.values()] + ["'=1.png", "''.png", "-1", "+1", "@x"]
    piece = names, np.zeros((len(names), 1), np.float32)
    write_features(tmp_path / "f.csv", [piece], rows=len(names), features=1)
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        cells = [row[0] for row in csv.reader(file)][1:]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in cells)
    assert [cell.removeprefix("'") for cell in cells] == names
    lines = [as_line(name) for name in names]
    assert all(line.isprintable() and len(line.splitlines()) == 1 for line in lines)
    assert [re.sub(r"\\\\|\\(n|r|t|x..|u....)", _read_back, line) for line in lines] == names


def _read_back(found: re.Match[str]) -> str:
    return found[0].encode().decode("unicode_escape")
