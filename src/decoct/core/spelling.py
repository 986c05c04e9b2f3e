"""Suggest the word that a misspelt one stands for."""

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """A clause that names the nearest known word, or all of them.

    >>> suggest("itterations", ["iterations", "batch"])
    ' perhaps you meant iterations?'
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" perhaps you meant {close[0]}?" if close else f" there are {', '.join(known)}"
