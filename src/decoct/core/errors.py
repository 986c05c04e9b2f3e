"""The exceptions for a user's mistakes."""


class DecoctError(ValueError):
    """The input is wrong; the message says what is wrong, where, and what to do about it."""


class DivergedError(DecoctError):
    """Training produced non-finite numbers: the learning rate is too high."""
