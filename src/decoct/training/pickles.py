"""What a pickle would grow to, added up from its instructions without following them.

Unpickling tensors alone runs no code, and yet a few hundred bytes may ask for a terabyte, or for
the hash of a tuple that holds itself, twice, forty times over.
"""

import pickletools
from io import BufferedReader, BytesIO

from decoct.core.errors import DecoctError

_GROWING = ("builtins bytearray", "__builtin__ bytearray", "_codecs encode")  # as asked for
_PUT = ("PUT", "BINPUT", "LONG_BINPUT")
_GET = ("GET", "BINGET", "LONG_BINGET")
_SHARED = 100  # times its bytes: in a checkpoint few values are in many places
_SMALL = 10**5


def check_pickle(file: BufferedReader | BytesIO, *, size: int, name: str) -> None:
    """Raise `DecoctError` if the next pickle in a file, of `size` bytes, makes far more than it is.

    Every value counts as often as it is in another. Raises other exceptions for what is no pickle.
    """
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    for step, argument, _ in pickletools.genops(file):
        if argument in _GROWING:
            raise DecoctError(f"{name} holds {argument}, which no state dict needs")
        if step.name in _PUT and argument is not None:
            memo[argument] = stack[-1]
        elif step.name in _GET and argument is not None:
            stack.append(memo[argument])
        elif step.name == "MARK":
            marks.append(len(stack))
        else:
            value = 1 + _taken(step, stack, marks)
            value += len(argument) if isinstance(argument, str | bytes) else 0
            if value > _SMALL + _SHARED * size:
                raise DecoctError(f"{name} holds the same values in itself without measure")
            stack.extend([value] * len(step.stack_after))


def _taken(step: pickletools.OpcodeInfo, stack: list[int], marks: list[int]) -> int:
    """The size of what an instruction takes from the stack."""
    needs = step.stack_before
    if pickletools.markobject in needs:
        first = marks.pop() - needs.index(pickletools.markobject)
    else:
        first = len(stack) - len(needs)
    if first < 0:
        raise IndexError("the stack is empty")
    total = sum(stack[first:])
    del stack[first:]
    return total
