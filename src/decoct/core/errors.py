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
