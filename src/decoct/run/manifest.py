"""What `run.json` says: the stages of a run, where each lies, its seconds and its processes."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.forms import typed, understood
from decoct.run.seconds import Processes, Seconds


class _Content(TypedDict):
    stages: dict[str, str]
    seconds: dict[str, Seconds]
    inputs: NotRequired[dict[str, list[str]]]
    seeds: NotRequired[dict[str, int | None]]
    sorts: NotRequired[dict[str, str]]
    processes: NotRequired[dict[str, Processes]]  # 1 where it does not say


def read_manifest(file: Path) -> dict[str, Any]:
    """A run's manifest; raises `DecoctError` if there is none, or no whole one.

    Stages lie in the run's folder: a name that leads elsewhere is refused.
    """
    with understood(file):
        found = storage.load_json(file, kind="run")
        typed(found, _Content)  # there may be more in it
        for name in found["stages"].values():
            if Path(name).name != name or name == "..":
                raise DecoctError(f"{name!r} is no folder of a stage")
    return found
