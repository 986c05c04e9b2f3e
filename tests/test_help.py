"""Help leads from a screen of sections to the settings of one, with their values."""

import os
import subprocess
import sys
import warnings
from dataclasses import fields, make_dataclass
from typing import get_type_hints

import pytest
import tyro

from decoct.cli import main
from decoct.flags import _flags_of, default
from decoct.run.recipe import load_recipe
from decoct.verbs import RECIPE_VERBS


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        assert main(arguments) == 0
    except SystemExit as stop:  # by the flags' parser
        assert not stop.code
    return capsys.readouterr().out


def test_a_recipes_help_is_a_screen_of_sections(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, words in (("tune", "help tune demo"), ("stage probe", "stage probe demo --help")):
        said = printed(capsys, *words.split())
        lines = said.splitlines()
        assert len(lines) <= 40 and max(map(len, lines)) <= 80
        assert f"decoct {verb} demo --help SECTION" in said
        assert "--fraction 0.05" in said and "  teacher " in said and "krr_st" in said
        assert ("  tune " in said) == (verb == "tune")


def test_a_sections_help_has_its_settings_with_their_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = printed(capsys, "run", "demo", "--images.size", "48", "--help", "images")
    assert "--images.size INT" in said and "(default: 48)" in said and "--teacher" not in said
    assert "--images.size           a whole number, at least 1 and at most 4,096" in said
    said = printed(capsys, "run", "demo", "-h", "teacher.ssl")
    assert "--teacher.ssl.epochs INT" in said and "--teacher.source" not in said
    assert "--krr-st.lr FLOAT" in printed(capsys, "demo", "--help", "krr-st")


def test_a_section_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "demo", "--help", "techer"]) == 2
    assert "no section techer; perhaps you meant teacher?" in capsys.readouterr().err


def test_every_flag_has_a_text() -> None:
    recipe, parts = load_recipe("cifar10-2pct"), {}
    for verb in RECIPE_VERBS:
        kinds = _flags_of(recipe, verb)
        hints = get_type_hints(kinds, include_extras=True)
        parts |= {f.name: (hints[f.name], f.default_factory()) for f in fields(kinds)}
    named = [(name, kind, default(value)) for name, (kind, value) in parts.items()]
    every = make_dataclass("Every", named)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parser = tyro.extras.get_parser(every)
    flags = [a.option_strings[0] for a in parser._actions if str(a.help).startswith("(default")]
    assert flags == []


def test_whoever_reads_may_stop_reading() -> None:
    """As `decoct run --help | head -1` does; here nobody reads at all."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "decoct", "run", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == "" and done.returncode == 141
