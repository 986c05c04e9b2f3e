"""A griffe extension: examples in docstrings are shown as code, and not read as Markdown."""

import re
from typing import Any

import griffe

# From a line that begins with >>> to the next empty line, or the end.
_EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts a fence around each doctest."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for whatever may have a docstring."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _EXAMPLE.sub(r"```python\n\g<0>\n```", text)
