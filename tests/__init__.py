"""The tests; `checked` is what checks the code's annotations while they run."""

from tests.typechecker import checked

__all__ = ["checked"]
