"""Text from outside on a terminal: file names and messages of others control nothing there."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

# Control characters; marks that turn the direction of writing; separators of lines and paragraphs;
# and halves of characters, which stand for the bytes of a file's name that are no text.
_UNPRINTABLE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
)
_IN_TEXT = re.compile(f"[{_UNPRINTABLE}]")
_IN_A_LINE = re.compile(rf"[\t\n{_UNPRINTABLE}]")


def printable(text: str) -> str:
    r"""Text whose control characters, but for tabs and new lines, are written as escapes.

    >>> print(printable("\x1b[31mred.png"))
    \x1b[31mred.png
    """
    return _IN_TEXT.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""As `printable`, with tabs and new lines written as escapes, too.

    >>> print(one_line("two\nlines.png"))
    two\nlines.png
    """
    return _IN_A_LINE.sub(_escaped, text)


def as_text(name: str) -> str:
    r"""A file's name as text, also where its bytes are none; text stays as it is.

    >>> print(as_text(os.fsdecode(b"na\xefve.png")))
    na\xefve.png
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def brief(said: object, most: int = 200) -> str:
    """What a library's exception or a stranger's file says, within a sentence of ours.

    >>> brief("no   such thing in this file", most=16)
    'no such thing...'
    """
    text = str(said)[: 4 * most]  # it may be endless
    line = one_line(" ".join(text.split()) or type(said).__name__)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


@contextmanager
def printable_output() -> Iterator[None]:
    """Inside the block, whatever is printed to standard output is `printable`."""
    guarded: Any = _Printable(sys.stdout)
    with redirect_stdout(guarded):
        yield


def never_refuse_characters() -> None:
    """Let characters that the terminal's encoding lacks be printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Printable:
    """A stream that passes on what is printable."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str, /) -> int:
        self._stream.write(printable(text))
        return len(text)
