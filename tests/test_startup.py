"""Help comes at once: what takes seconds to import is imported when a verb runs."""

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest

from decoct import cli, verbs
from decoct.commands import STAGES, VERBS
from decoct.methods.registry import sections
from decoct.run.recipe import Recipe
from decoct.tools import TOOLS

HEAVY = ("torch", "matplotlib", "kornia", "sklearn", "scipy", "tyro")
HELP = [
    ["--version"],
    ["--help"],
    ["help"],
    [],
    *([verb, "--help"] for verb in VERBS),
    ["stage", "distill", "--help"],
    ["diagnose", "variance", "--help"],
    ["run", "-h"],
    ["help", "tune"],
    ["recipe", "demo"],
]
CODE = """
import contextlib, io, json, sys
import decoct, decoct.cli
decoct.__version__, decoct.__all__, dir(decoct)
heavy = {heavy}
found = [["import decoct", [name for name in heavy if name in sys.modules]]]
for arguments in {arguments}:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = decoct.cli.main(arguments)
    loaded = [name for name in heavy if name in sys.modules]
    found.append([arguments, loaded or status or len(said.getvalue()) < 10])
print(json.dumps(found))
"""


def test_help_loads_nothing_heavy() -> None:
    """All verbs in one process: a module that the first one loads would be visible to the next."""
    code = CODE.format(heavy=HEAVY, arguments=HELP)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [arguments for arguments, wrong in found if wrong] == []
    assert len(found) == len(HELP) + 1


@pytest.mark.parametrize("verb", [*VERBS, "stage probe", "diagnose variance"])
def test_every_verb_has_help(verb: str) -> None:
    text = cli.help_text([*verb.split(), "--help"])
    assert text is not None and text.startswith(f"decoct {verb.split()[0]}")
    assert all(len(line) <= 80 for line in text.split("\n"))
    assert text.count("\n") < 40


def test_the_general_help_names_every_verb_on_a_screen() -> None:
    text = cli.help_text([])
    assert text is not None
    assert text.count("\n") < 40 and max(map(len, text.splitlines())) <= 80
    words = text.replace(",", " ").split()
    assert [verb for verb in VERBS if verb not in words] == []


def test_the_sections_that_help_lists_are_the_recipes() -> None:
    recipe = Recipe()
    of_stages = [f.name for f in fields(Recipe) if is_dataclass(getattr(recipe, f.name))]
    text = cli.help_text(["run", "--help"])
    assert text is not None
    listed = " ".join(text.split()).split("Sections: ")[1].split(".")[0]
    of_all, _, of_methods = listed.partition("; of single methods: ")
    assert of_all.split(", ") == of_stages
    assert sorted(of_methods.split(", ")) == sorted(sections())


def test_the_verbs_that_help_lists_are_those_that_there_are() -> None:
    recipes = [verb.split()[0] for verb in verbs.RECIPE_VERBS]
    assert {*VERBS} == {*recipes, *TOOLS, "demo", "distill", "stage", "recipe", "submit"}
    assert list(STAGES) == list(verbs.STAGE_VERBS)
