"""The counts on the page are those that were measured."""

from pathlib import Path

from benchmarks.reliability import counts

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_the_page_says_what_the_records_say() -> None:
    assert counts() in PAGE.read_text("utf-8")
