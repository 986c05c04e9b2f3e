"""`Task`: decoct within a job that submitit has started; stopped by SLURM, it is queued again.

Of this class submitit writes an object into a file (a pickle) and reads it where the job runs, so
it holds words only, and its module loads no torch.
"""

import signal
import sys
import time
from typing import Any

from decoct.cli import main
from decoct.core.extras import import_extra
from decoct.stopping import ask_to_stop, leave_sigterm

_TERMINATED = 128 + signal.SIGTERM
_GRACE_S = 600.0  # longer than SLURM lets a job live that it has asked to end


class Task:
    """A command of decoct, as each task of a job runs it.

    The tasks of a job find each other as torchrun's processes do. On SIGUSR2, which SLURM sends
    some time before it ends a job, or SIGUSR1, the first task stops in order, with a checkpoint,
    and submitit has the job queued again. On SIGTERM it stops as well, but waits for what follows:
    SLURM queues a job that it preempts again if it is still there, and one that was cancelled not.
    The other tasks go on until the first has left, which may need them to come to its checkpoint.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments

    def __call__(self) -> None:
        """Run it; called by submitit."""
        helpers = submitit_helpers()
        ranks, job = helpers.TorchDistributedEnvironment(), helpers.JobEnvironment()
        if ranks.world_size > 1:
            ranks.export(set_cuda_visible_devices=False, overwrite=True)
        number = signal.Signals[f"SIG{job.USR_SIG}"]
        queue_again: Any = signal.getsignal(number)  # submitit's own answer, which ends this task
        requests: list[int] = []

        def stop(number: int, frame: object) -> None:
            requests.append(number)
            if ranks.rank == 0:
                ask_to_stop()

        for heard in (number, signal.SIGUSR1):
            signal.signal(heard, stop)
        sys.argv = ["decoct", *self.arguments]  # whoever finds the folder in use reads it
        if ranks.rank != 0:
            self._run_along(requests)
            return
        status = main(self.arguments)
        if status == _TERMINATED:
            if job.cluster == "slurm":
                _wait_for(requests)
            if requests:
                queue_again(number, None)
        if status:
            sys.exit(status)

    def _run_along(self, requests: list[int]) -> None:
        """Run it as a task that is not the first, whose leaving is no failure if the job ends.

        (If it were one, SLURM would end all, and not wait for the first.)
        """
        leave_sigterm(to=lambda number, frame: requests.append(number))
        try:
            status = main(self.arguments)
        except Exception:  # the first has left
            if not requests:
                raise
        else:
            if status and not requests:
                sys.exit(status)

    def checkpoint(self) -> Any:
        """What is to be run when the job is queued again: the same, which continues."""
        return submitit_helpers().DelayedSubmission(self)


def submitit_helpers() -> Any:
    """What submitit offers to a task; raises `DecoctError` if it is not installed."""
    return import_extra("submitit.helpers", extra="slurm", package="submitit")


def _wait_for(asked: list[int]) -> None:
    """Stay, for SLURM to end this process, or to say that the job should be queued again."""
    until = time.monotonic() + _GRACE_S
    while not asked and time.monotonic() < until:
        time.sleep(0.5)
