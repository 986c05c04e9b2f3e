"""What the site makes of formulas, dataclasses and doctests; `make docs` builds it in full."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import griffe
import pytest

DOCS = Path(__file__).parents[2] / "docs"
SRC = DOCS.parent / "src"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = '''
from dataclasses import dataclass, field
from typing import ClassVar

@dataclass(frozen=True)
class Walk:
    """How to walk.

    >>> [Walk().steps]
    [3]
    """

    section: ClassVar[str] = "walk"

    steps: int = 3  # one foot after the other
    # where to
    goals: list[str] = field(default_factory=lambda: ["home"])
    shoes: str = field(default="boots")
    """What is worn."""
    name: str

    @property
    def length(self) -> float:
        """In metres."""
        return self.steps * 0.7
'''


def test_a_dataclass_is_shown_with_its_fields_and_a_doctest_as_code(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(EXAMPLE)
    extensions = griffe.load_extensions(str(DOCS / "doctests.py"), str(DOCS / "fields.py"))
    walk = griffe.load("example", search_paths=[tmp_path], extensions=extensions)["Walk"]
    text, table = walk.docstring.parsed
    assert "```python\n>>> [Walk().steps]\n[3]\n```" in text.value
    rows = [(row.name, row.default and str(row.default), row.description) for row in table.value]
    assert rows == [
        ("steps", "3", "one foot after the other"),
        ("goals", "['home']", "where to"),
        ("shoes", "'boots'", "What is worn."),
        ("name", None, ""),
    ]


def test_a_field_of_a_section_says_what_it_takes() -> None:
    extensions = griffe.load_extensions(str(DOCS / "fields.py"))
    package = griffe.load("decoct.evaluation.probe", search_paths=[SRC], extensions=extensions)
    rows = {row.name: row.description for row in package["ProbeConfig"].docstring.parsed[-1].value}
    assert rows["fractions"].endswith("[a list; each a number, above 0 and at most 1]")
    assert rows["protocol"] == "paper: as published [standard or paper]"


def test_the_table_of_settings_has_all_of_them() -> None:
    hook = load("settings_table")
    shown = hook.on_page_markdown((DOCS / "settings.md").read_text("utf-8"))
    assert "| `images.size` | a whole number, at least 1 and at most 4,096 | `32` |" in shown
    assert "| `views.augment.flip` | true or false | true |" in shown
    assert "| `tune.epochs` | a list, not empty; each a whole number, at least 1 |" in shown
    assert hook.on_page_markdown("other") == "other" and shown.count("| `") > 180


@pytest.mark.parametrize("page", ["method", "variance"])
def test_every_formula_becomes_mathml(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    formulas = re.findall(r"\$\$\n(.*?)\n *\$\$", text, flags=re.DOTALL)
    assert formulas
    for formula in formulas:
        shown = load("formulas").on_page_content(f'<div class="arithmatex">\\[{formula}\\]</div>')
        assert shown.startswith('<p><math xmlns="http://www.w3.org/1998/Math/MathML"')
        assert "\\" not in shown


def test_formulas_in_a_line() -> None:
    page = '<p>a <span class="arithmatex">\\(x &lt; \\lambda\\)</span> b</p>'
    shown = load("formulas").on_page_content(page)
    assert (
        shown.startswith("<p>a <math") and "&#x003BB;" in shown and shown.endswith("</math> b</p>")
    )
