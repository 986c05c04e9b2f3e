"""A duration as text."""


def duration(seconds: float) -> str:
    """A duration as text.

    >>> duration(0.42), duration(75), duration(3 * 3600 + 299)
    ('0.4 s', '1 min 15 s', '3 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
