"""What the site makes of formulas, dataclasses and doctests; `make docs` builds it in full."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import griffe
import pytest

import decoct

DOCS = Path(__file__).parents[2] / "docs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config() -> griffe.Class:
    """`MatchingConfig`, as mkdocstrings sees it."""
    extensions = griffe.load_extensions(str(DOCS / "doctests.py"), str(DOCS / "fields.py"))
    source = Path(decoct.__path__[0]) / "matching/loop.py"
    loader = griffe.GriffeLoader(extensions=extensions, search_paths=[source.parent])
    loop = loader.load("loop")
    found = loop["MatchingConfig"]
    assert isinstance(found, griffe.Class)
    return found


def test_a_config_is_shown_with_its_fields(config: griffe.Class) -> None:
    assert config.docstring
    table = config.docstring.parsed[-1]
    assert isinstance(table, griffe.DocstringSectionParameters) and table.title == "Fields:"
    rows = {row.name: (str(row.default), row.description) for row in table.value}
    assert rows["inner_steps"] == ("40", "T")
    assert rows["iterations"] == ("5000", "")
    assert "section" not in rows and "last_epoch" not in rows


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
