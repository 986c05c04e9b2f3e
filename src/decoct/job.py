"""`JobFlags`: what a job of SLURM is given; and submitit's executor of such jobs."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from decoct.core.duration import seconds_of
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.core.settings import CountOrNone, Few, Settings

_LEAST_MIN = 5  # SLURM warns a job 90 s before its time is up
_TIMES = 100  # that a job is queued again when its time was up; each goes on from a checkpoint
_CLOCK = re.compile(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)")
_OPTION = re.compile(r"([a-z][a-z0-9-]*)(?:=(\S.*))?")
_OURS = ("array", "chdir", "dependency", "error", "output", "time")  # what decoct relies on


@dataclass(frozen=True)
class JobFlags(Settings):
    """What a job is given, and where it runs."""

    nodes: Few = 1
    time: str = "24:00:00"  # at most; or 2-00:00:00, or 12h
    gpus_per_node: CountOrNone = 0
    tasks_per_node: CountOrNone = 0  # processes; 0: one for each GPU, or one
    cpus_per_task: CountOrNone = 0  # 0: what SLURM gives
    partition: str = ""
    account: str = ""
    array: CountOrNone = 0  # tasks that share the experts; 0: one job makes everything
    sbatch: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()  # KEY=VALUE, its options
    local: bool = False  # on this machine, without SLURM
    out: str = ""  # where to keep the run; "": runs/NAME

    @property
    def tasks(self) -> int:
        """Processes of each node."""
        return self.tasks_per_node or self.gpus_per_node or 1


def executor(flags: JobFlags, *, folder: Path, name: str, after: str = "") -> Any:
    """What submits jobs, whose files are kept in `folder`; `after` says which jobs come before.

    Raises `DecoctError` for a time or an option that cannot be.
    """
    submitit = import_extra("submitit", extra="slurm", package="submitit")
    where = "local" if flags.local else "slurm"
    found = submitit.AutoExecutor(
        folder, cluster=where, slurm_max_num_timeout=_TIMES, local_max_num_timeout=_TIMES
    )
    steps = ["--kill-on-bad-exit=1"]  # or the others would wait for one that has died
    steps += [f"--cpus-per-task={flags.cpus_per_task}"] * bool(flags.cpus_per_task)
    found.update_parameters(
        name=re.sub(r"[^\w.-]+", "-", f"decoct-{name}"),
        nodes=flags.nodes,
        tasks_per_node=flags.tasks,
        gpus_per_node=flags.gpus_per_node or None,
        cpus_per_task=flags.cpus_per_task or None,
        timeout_min=minutes_of(flags.time),
        stderr_to_stdout=True,
        slurm_partition=flags.partition or None,
        slurm_account=flags.account or None,
        slurm_dependency=after or None,
        slurm_srun_args=steps,  # which srun does not take from sbatch
        slurm_additional_parameters={
            "requeue": True,
            "kill-on-invalid-dep": "yes",
            **options_of(flags.sbatch),
        },
    )
    return found


def minutes_of(text: str) -> int:
    """A time limit, as SLURM or a person writes it; raises `DecoctError` for another.

    >>> minutes_of("12:00:00"), minutes_of("2-00:30:00"), minutes_of("1.5h")
    (720, 2910, 90)
    """
    try:
        minutes = math.ceil(_seconds_of(text) / 60)
    except DecoctError:
        raise DecoctError(
            f"--time {text!r} is no time limit; write 12:00:00, 2-00:00:00 or 12h, say"
        ) from None
    if minutes < _LEAST_MIN:
        raise DecoctError(f"--time {text} is too short for a job; give at least {_LEAST_MIN}min")
    return minutes


def _seconds_of(text: str) -> float:
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        return seconds_of(text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 60.0 * (60 * (24 * days + hours) + minutes) + seconds


def options_of(words: tuple[str, ...]) -> dict[str, str | bool]:
    """Options of sbatch by name; raises `DecoctError` for what is none, or what decoct sets.

    >>> options_of(("constraint=a100", "exclusive"))
    {'constraint': 'a100', 'exclusive': True}
    """
    found: dict[str, str | bool] = {}
    for word in words:
        match = _OPTION.fullmatch(word.removeprefix("--"))
        if match is None:
            raise DecoctError(
                f"--sbatch {word!r} is no option of sbatch; write constraint=a100, say"
            )
        if match[1] in _OURS:
            raise DecoctError(f"--sbatch {word}: decoct sets {match[1]} itself; leave it out")
        found[match[1]] = match[2] or True
    return found
