"""The exceptions for a user's mistakes, and for what happens to a run."""


class DecoctError(ValueError):
    """The input is wrong; the message says what is wrong, where, and what to do about it."""


class DivergedError(DecoctError):
    """Training produced non-finite numbers: the learning rate is too high."""


class UnreadableError(DecoctError):
    """A file exists, but the system cannot read it: nothing is known of what it holds."""


class ForeignError(DecoctError):
    """A file is none that decoct wrote, or its header is damaged beyond recognition."""


class Terminated(BaseException):
    """The system asked the process to end: SIGTERM, or SIGHUP if its terminal is gone."""


def in_one_line(text: object, most: int = 200) -> str:
    """What a library's exception or a stranger's file says, in one line of `most` characters.

    >>> in_one_line("no   such thing in this file", most=16)
    'no such thing...'
    """
    line = " ".join(str(text).split()) or type(text).__name__
    return line if len(line) <= most else f"{line[: most - 3]}..."
