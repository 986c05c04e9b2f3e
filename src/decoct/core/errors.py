"""The exceptions that a user's mistake raises."""


class DecoctError(ValueError):
    """Something in the input is wrong; the message says what, where, and what to do about it."""


class DivergedError(DecoctError):
    """Training came to numbers that are not finite: its learning rate is too high."""
