"""`Owner`: which process works on something, for the message that others get."""

import getpass
import os
import platform
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from decoct.core.printable import one_line


@dataclass(frozen=True)
class Owner:
    """Who has a run's folder, or makes a part of it, for people to read."""

    user: str
    host: str
    process: int
    since: str
    command: str

    def __str__(self) -> str:
        """All of it, without what could confuse a terminal.

        >>> str(Owner("ana", "node7", 4711, "2026-11-26 14:02 UTC", "decoct demo"))
        'process 4711 of ana on node7, since 2026-11-26 14:02 UTC: decoct demo'
        """
        text = f"process {self.process} of {self.user} on {self.host}, since {self.since}"
        return one_line(f"{text}: {self.command}")

    def to_json(self) -> str:
        """As `read_owner` reads it."""
        return msgspec.json.encode(self).decode()


def ourselves() -> Owner:
    """The process that asks, since now."""
    user = "somebody"
    with suppress(OSError, KeyError):  # containers may have no names for their users
        user = getpass.getuser()
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    command = shlex.join([name, *sys.argv[1:]])
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Owner(user, platform.node(), os.getpid(), since, command)


def read_owner(file: Path) -> Owner | None:
    """Who signed a file last; None if nobody, or nobody can tell."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Owner) if file.is_file() else None
    except (OSError, msgspec.MsgspecError):
        return None
