"""The command line: instant help, and the verbs, which import torch only when they run."""

import errno
import os
import re
import sys
from collections.abc import Sequence

from decoct import __version__
from decoct.commands import STAGES, VERBS
from decoct.core.errors import DecoctError, Terminated
from decoct.core.printable import never_refuse_characters, printable
from decoct.core.spelling import suggest
from decoct.help import usage, verb_help
from decoct.launched import end_with_launcher
from decoct.run.recipes import recipe_names, recipe_text
from decoct.stopping import stoppable, stopped

# What only a mistake of ours makes of a call to the system.
_OURS = (errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK)

_LONGEST = 4096  # characters of an argument, as of a path
_NO_MEMORY = re.compile("allocate memory|out of memory", re.IGNORECASE)
_FULL = (
    "there is too little memory; lower sizes, widths or batches (decoct doctor RECIPE estimates "
    "what they take) and run again: what is finished is kept"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["help"] and arguments[1:]:
        arguments = [*arguments[1:], "--help"]
    never_refuse_characters()
    try:
        _check(arguments)
        _say_or_run(arguments)
        sys.stdout.flush()
    except DecoctError as error:
        print(printable(f"decoct: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read it has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno is None or error.errno in _OURS:
            raise
        print(printable(f"decoct: {_refused(error)}"), file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:  # torch's own say so in words only
        if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error)):
            raise
        print(f"decoct: {_FULL}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Terminated) as request:
        return stopped(request)
    return 0


def _refused(error: OSError) -> str:
    """What the system refused where nothing closer to it has said so, and what to do about it."""
    kept = "what is finished is kept, and the same command continues"
    if error.errno == errno.ENOSPC:
        return f"no space left on the device; free some space and run again: {kept}"
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"{what}; mend that and run again: {kept}"


def _check(arguments: Sequence[str]) -> None:
    """Raise `DecoctError` for words that no file, flag or value can be."""
    for before, word in zip(["", *arguments], arguments, strict=False):
        if len(word) > _LONGEST or "\0" in word:
            what = f"is longer than {_LONGEST:,} characters, or holds NUL"
            raise DecoctError(f"the argument {word[:30]!r}... {what}; shorten it")
        if word == "--out=" or (not word and (before == "--out" or not before.startswith("--"))):
            raise DecoctError("an argument is empty: is a variable of the shell not set?")


def _say_or_run(arguments: list[str]) -> None:
    text = help_text(arguments)
    if text is not None:
        print(text)
        return
    end_with_launcher()
    with stoppable():
        _run(arguments)


def help_text(arguments: Sequence[str]) -> str | None:
    """The requested help if it can be printed without torch, otherwise None.

    >>> help_text(["--version"])
    'decoct 0.1.0'
    """
    first, *more = arguments or ["help"]
    if first == "--version":
        return f"decoct {__version__}"
    if first in ("-h", "--help", "help"):
        return usage()
    return verb_help([first, *more[:-1]]) if more and more[-1] in ("-h", "--help") else None


def _run(arguments: list[str]) -> None:
    verb = arguments[0]
    if verb not in VERBS:
        if verb in STAGES:
            raise DecoctError(f"{verb} is a stage now: decoct stage {verb} RECIPE")
        raise DecoctError(f"there is no verb {verb};{suggest(verb, VERBS)}")
    if verb == "recipe":
        _print_recipe(arguments[1:])
        return
    from decoct.verbs import dispatch  # loads torch

    dispatch(verb, arguments[1:])


def _print_recipe(names: list[str]) -> None:
    known = recipe_names()
    if len(names) != 1 or names[0] not in known:
        wanted = suggest(names[0], known) if names else f" there are {', '.join(known)}"
        raise DecoctError(f"decoct recipe takes the name of a shipped recipe;{wanted}")
    print(recipe_text(names[0]), end="")
