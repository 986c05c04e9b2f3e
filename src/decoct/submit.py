"""`decoct submit`: a run as a job of SLURM, or, to try it, of this machine; submitit starts it."""

import io
import shlex
import shutil
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from decoct.cluster_task import Task, submitit_helpers
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.core.printable import one_line
from decoct.flags import Call, parse
from decoct.job import JobFlags, executor, minutes_of, options_of
from decoct.run.folder import JOBS
from decoct.run.graph import Graph
from decoct.run.recipes import recipe_names
from decoct.settings_help import print_help

_OF_ONE_MACHINE = ("/tmp", "/var/tmp", "/dev/shm")


def submit(arguments: list[str]) -> None:
    """Check the recipe, submit a job that runs it, and say how to follow it."""
    if not arguments or arguments[0].startswith("-"):
        raise DecoctError(f"decoct submit needs a recipe: one of {', '.join(recipe_names())}")
    recipe, *words = arguments
    before = next((n for n, word in enumerate(words) if word in ("-h", "--help")), len(words))
    prog = f"decoct submit {recipe}"
    flags, rest = tyro.cli(JobFlags, prog=prog, args=words[:before], return_unknown_args=True)
    given = ["--out", flags.out] if flags.out else []
    call = parse("run", [recipe, *rest, *given, *words[before:]])
    if call.help is not None:
        print_help(call, prog, call.help)
        return
    own = recipe if recipe in recipe_names() else str(Path(recipe).absolute())
    submission = Submission(flags, call, words=[own, *rest])
    submission.check()
    submission.make()
    print(submission.text())


class Submission:
    """A run that is submitted; `words` are its recipe and the flags of that."""

    def __init__(self, flags: JobFlags, call: Call, *, words: list[str]) -> None:
        self.flags, self.call, self.words = flags, call, words
        self.out: Path = call.flags.out.expanduser().absolute()
        self.jobs: list[Any] = []  # submitit's, in order

    def check(self) -> None:
        """Raise `DecoctError` for what would fail only when the job has its turn."""
        flags, device = self.flags, self.call.recipe.device
        submitit_helpers()
        minutes_of(flags.time)
        options_of(flags.sbatch)
        if not flags.local:
            self.check_slurm()
        elif flags.nodes > 1:
            raise DecoctError("--local runs on this machine alone; leave out --nodes")
        if device.startswith("cuda") and not flags.gpus_per_node:
            raise DecoctError(f"the device is {device}, so the job needs --gpus-per-node")
        if "%" in str(self.out):  # which SLURM replaces by numbers
            raise DecoctError(f"{self.out} has % in its name; choose another folder with --out")
        if flags.array:
            self._check_array()
        # There may be no GPU where jobs are submitted.
        anywhere = replace(self.call, recipe=replace(self.call.recipe, device="auto"))
        anywhere.fitted().run().check()

    def check_slurm(self) -> None:
        """Raise `DecoctError` where there is no SLURM; note a folder that its nodes may not see."""
        if not (shutil.which("sbatch") and shutil.which("srun")):
            raise DecoctError(
                "there is no SLURM here (no sbatch and srun); run this where jobs are "
                "submitted, or give --local to try it on this machine"
            )
        if any(self.out.is_relative_to(place) for place in _OF_ONE_MACHINE):
            note(
                f"other machines may not see {self.out}; unless yours do, choose a folder on a "
                "shared file system with --out"
            )

    def _check_array(self) -> None:
        count, recipe = self.flags.array, self.call.recipe
        if not any(stage.name == "experts" for stage in Graph(recipe).of_a_run()):
            raise DecoctError(
                f"--array {count} shares the experts, but a run of {recipe.name} trains none; "
                "leave it out"
            )
        if count > recipe.experts.count:
            most = recipe.experts.count
            raise DecoctError(f"--array {count}, but there are {most} experts; give at most {most}")
        parse("stage train-experts", self._command(""))  # which takes fewer flags than `run`

    def make(self) -> None:
        """Submit a job; with `--array`, three: what comes before the experts, they, and the rest.

        The last does what a task that died has left. On one machine nothing waits its turn: all
        begin, and share the folder.
        """
        if not self.flags.array:
            self._submit([self._command("run")], self.flags)
            return
        shared = ("--share",) if self.flags.local else ()
        self._submit([self._command("stage compute-targets", shared)], self.flags)
        gpus = min(1, self.flags.gpus_per_node)
        one = replace(self.flags, nodes=1, tasks_per_node=1, gpus_per_node=gpus)
        first = f"afterok:{_id(self.jobs[0])}"
        experts = self._command("stage train-experts", ("--share",))
        self._submit([experts] * self.flags.array, one, after=first)
        last = f"{first},afterany:{_id(self.jobs[1])}"
        self._submit([self._command("run", shared)], self.flags, after=last)

    def _command(self, verb: str, more: tuple[str, ...] = ()) -> list[str]:
        return [*verb.split(), *self.words, "--out", str(self.out), *more]

    def _submit(self, commands: list[list[str]], flags: JobFlags, *, after: str = "") -> None:
        """Submit tasks, each a job or, several, an array; raises `DecoctError` if SLURM refuses."""
        utils = import_extra("submitit.core.utils", extra="slurm", package="submitit")
        tasks = [Task(command) for command in commands]
        to = executor(flags, folder=self.out / JOBS, name=self.call.recipe.name, after=after)
        try:
            with submitit_helpers().clean_env(), redirect_stderr(io.StringIO()):
                self.jobs += to.submit_array(tasks)
        except utils.UncompletedJobError as error:
            said = f"sbatch refuses the job ({one_line(str(error))}); change what it asks for"
            if self.jobs:
                said += f", and end what is submitted: {self._end()}"
            raise DecoctError(said) from error

    def text(self) -> str:
        """What its user should know."""
        flags, ids = self.flags, ",".join(self._ids())
        one_each = {_id(job): job for job in reversed(self.jobs)}  # the first of an array
        logs = [str(job.paths.stdout) for job in reversed(one_each.values())]
        lines = {
            "submitted": f"job {ids}: {self._size()}, at most {flags.time}",
            "to see it": f"{'ps -p' if flags.local else 'squeue -j'} {ids}",
            "to follow it": f"tail -F {shlex.join(logs)}",
            "to end it": f"{self._end()}  (what is finished is kept)",
            "to go on": f"this command again, or decoct run {shlex.join(self._command(''))}",
        }
        return "\n".join(f"{name + ':':<14}{line}" for name, line in lines.items())

    def _size(self) -> str:
        nodes, tasks = self.flags.nodes, self.flags.tasks
        size = f"{nodes} machine{'s' * (nodes > 1)}, {tasks} process{'es' * (tasks > 1)}"
        size += " on each" * (nodes > 1)
        return size + f"; the experts in {self.flags.array} more" * bool(self.flags.array)

    def _end(self) -> str:
        return f"{'kill' if self.flags.local else 'scancel'} {' '.join(self._ids())}"

    def _ids(self) -> list[str]:
        """Those of the jobs, an array's once; of this machine, its processes'."""
        return list(dict.fromkeys(map(_id, self.jobs)))


def _id(job: Any) -> str:
    return str(job.job_id).partition("_")[0]
