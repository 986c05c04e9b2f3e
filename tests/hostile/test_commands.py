"""Every verb with arguments that are nonsense: exit 2 and a sentence, and nothing is written."""

from pathlib import Path

import pytest
import torch

from benchmarks.bad_input import answer
from decoct.commands import STAGES, VERBS
from decoct.core.bytes import bytes_of
from decoct.core.duration import seconds_of
from decoct.core.errors import DecoctError
from decoct.help import usage

WORDS = {"stage": ["load-images"], "diagnose": ["variance"], "distill": []}
NONSENSE = {
    "NUL": "a\0b",
    "too long a path": "x/" * 4000,
    "too long a name": "x" * 300,
    "empty": "",
    "a control sequence": "\x1b[31mred",
    "half a character": "caf\udce9",
    "a device": "/dev/zero",
    "a path in a file": "/dev/null/x",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "demo"])
@pytest.mark.parametrize("what", NONSENSE)
def test_a_verb_of_nonsense(verb: str, what: str, tmp_path: Path) -> None:
    word = NONSENSE[what]
    more = {"export": ["--out", "out"], "embed": ["pictures", "--out", "out.npy"]}.get(verb, [])
    more = [word] if verb in ("finetune", "push") else more
    status, said = answer([verb, *WORDS.get(verb, []), word, *more])
    if (verb, word) == ("verify", "/dev/zero"):  # it is found, and not whole
        assert status == 1 and "it is no regular file" in said
        return
    assert status == 2 and said.startswith("decoct: ") and said.count("\n") == 1, said
    assert "\x1b" not in said and len(said) < 1000 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        ["--"],
        ["-"],
        ["run\n"],
        ["\x1b[31m"],
        ["stage", "nowhere", "demo"],
        ["stage", "probe", "demo", "--out", ""],
        ["stage", "probe", "demo", "--out="],
        ["diagnose", "bias", "demo"],
        ["runs", "compare", "one"],
        ["recipe", "demo", "demo"],
        ["help", "a\0b"],
        ["run", "demo", "--data", "x" * 5000],
        *([verb] for verb in VERBS if verb not in ("demo", "doctor", "runs")),
    ],
)
def test_a_command_that_cannot_be(arguments: list[str], tmp_path: Path) -> None:
    status, said = answer(arguments)
    assert status == 2 and "Traceback" not in said and not list(tmp_path.iterdir())


def test_a_data_folder_that_is_not_there(tmp_path: Path) -> None:
    status, said = answer(["stage", "load-images", "demo", "--data", "nowhere"])
    assert status == 2 and "data is nowhere, but there is no such folder" in said
    assert not list(tmp_path.iterdir())


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoct.cli._say_or_run", lambda arguments: torch.empty(2**60))
    status, said = answer(["demo"])
    assert status == 2 and said.startswith("decoct: there is too little memory; lower sizes")


def test_amounts_that_no_machine_has() -> None:
    with pytest.raises(DecoctError, match="is no number of bytes"):
        bytes_of("9" * 400 + "MB")
    with pytest.raises(DecoctError, match="is no duration"):
        seconds_of("9" * 400 + "h")


def test_the_verbs_are_all_tried() -> None:
    assert all(f"  {verb}" in usage() for verb in VERBS) and "load-images" in STAGES
