"""The one exception that a user's mistake raises."""


class DecoctError(ValueError):
    """Something in the input is wrong; the message says what, where, and what to do about it."""
