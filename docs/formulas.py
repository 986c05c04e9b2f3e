"""A MkDocs hook: formulas become MathML, which browsers draw without any script or network."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex makes of $x$ and of $$x$$.
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(text: str, **kwargs: Any) -> str:
    """Called with the HTML of each page."""
    text = _BLOCK.sub(lambda found: f"<p>{_mathml(found[1], 'block')}</p>", text)
    return _INLINE.sub(lambda found: _mathml(found[1], "inline"), text)


def _mathml(latex: str, display: str) -> str:
    return str(convert(html.unescape(latex).strip(), display=display))
