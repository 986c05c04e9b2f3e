"""An mkdocs hook: the table of every setting, written from what is declared on the fields."""

from collections.abc import Iterator
from typing import Any

from decoct.core.settings import in_words
from decoct.run.recipe import Recipe
from decoct.settings_help import every_setting
from decoct.studies.fit import FitConfig
from decoct.studies.frontier.study import FrontierConfig
from decoct.studies.tune import TuneConfig
from decoct.studies.variance.study import VarianceConfig

_PLACE = "<!-- every setting -->"
_STUDIES = (TuneConfig(), FitConfig(), FrontierConfig(), VarianceConfig())


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called with each page's text."""
    return markdown.replace(_PLACE, settings_table()) if _PLACE in markdown else markdown


def settings_table() -> str:
    """A Markdown table of all settings of a recipe and of the studies."""
    rows = [f"| `{path}` | {words} | {value} |" for path, words, value in _rows()]
    return "\n".join(["| setting | takes | default |", "|---|---|---|", *rows])


def _rows() -> Iterator[tuple[str, str, str]]:
    recipe = Recipe()
    parts = {"": recipe, **recipe.methods, **{study.section: study for study in _STUDIES}}
    for name, part in parts.items():
        for path, hint, value in every_setting(part, name):
            yield path, in_words(hint), _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, dict) or value == "":
        return "none"
    return str(value).lower() if isinstance(value, bool) else f"`{value}`"
