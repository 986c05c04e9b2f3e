"""A misspelt word is answered with the right one, or with all there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoct.core.spelling import suggest

METHODS = ["random", "k-means", "k-center", "mkdt", "views"]


@pytest.mark.parametrize(
    "word, meant",
    [("randm", "random"), ("kmeans", "k-means"), ("k-centre", "k-center"), ("mktd", "mkdt")],
)
def test_the_nearest_is_named(word: str, meant: str) -> None:
    assert suggest(word, METHODS) == f" perhaps you meant {meant}?"


def test_where_none_is_near_all_are_named_in_their_order() -> None:
    known = dict.fromkeys(METHODS)  # any iterable
    assert suggest("xyz", known) == " there are random, k-means, k-center, mkdt, views"
    assert suggest("", iter(METHODS)) == " there are random, k-means, k-center, mkdt, views"


words = st.text("abcdefgh-", min_size=1, max_size=8)


@given(word=words, known=st.lists(words, min_size=1, max_size=5))
def test_a_word_that_is_known_is_its_own_nearest(word: str, known: list[str]) -> None:
    assert suggest(word, [*known, word]) == f" perhaps you meant {word}?"
