"""Compressed data that grows beyond all measure is refused before it is expanded."""

from rich.filesize import decimal as size_text

from decoct.core.errors import DecoctError

_HARMLESS = 2**25  # bytes: that much may come out of anything
_MOST = 500  # times its size: twenty for photographs, some 100 for shapes, 1000 for zeros alone


def check_expansion(what: str, *, size: int, taken: int) -> None:
    """Raise `DecoctError` if `taken` bytes of a file are said to hold `size` bytes of pictures.

    >>> check_expansion("images", size=2_000_000_000, taken=100_000_000)
    """
    if size > max(_HARMLESS, _MOST * taken):
        raise DecoctError(
            f"{what} says that {size_text(taken)} hold {size_text(size)}, which no pictures do; "
            "if they are real, save them without compression"
        )
