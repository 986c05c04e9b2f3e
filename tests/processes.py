"""Real processes in a gloo group, for tests of what is divided over ranks."""

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from decoct.core import ranks


class Processes:
    """So many processes, one thread each, that call functions together as one group.

    A function must be of a module, so that the processes can import it.
    """

    def __init__(self, count: int) -> None:
        self._begin(count)

    def _begin(self, count: int) -> None:
        # A server that has imported what takes seconds forks them; on Windows there is none.
        context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
        context.set_forkserver_preload(["torch._dynamo", "decoct.run.pipeline", __name__])
        port = _free_port()
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(count):
            ours, theirs = context.Pipe()
            environment = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            process = context.Process(target=_serve, args=(theirs, environment), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
        """What each rank returns; the error of the first that raises one is raised here.

        Then the others may wait for it for ever, so all are ended, and begun anew.
        """
        for pipe in self.pipes:
            pipe.send((function, arguments, named))
        results: dict[int, Any] = {}
        while len(results) < len(self.pipes):
            ready = wait(self.pipes)
            for rank in [rank for rank, pipe in enumerate(self.pipes) if pipe in ready]:
                results[rank], error = _answer(self.pipes[rank])
                if error:
                    self.end()
                    self._begin(len(self.pipes))
                    raise AssertionError(f"rank {rank}: {error}")
        return [results[rank] for rank in range(len(self.pipes))]

    def end(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()
            process.join()


def _answer(pipe: Connection) -> tuple[Any, str]:
    """What a process returned, and its error."""
    try:
        result, error = pipe.recv()
    except (EOFError, OSError):
        return None, "it has ended"
    return result, error


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _serve(pipe: Connection, environment: dict[str, str]) -> None:
    os.environ |= environment
    torch.set_num_threads(1)
    with ranks.together():
        while True:
            function, arguments, named = pipe.recv()
            try:
                pipe.send((function(*arguments, **named), ""))
            except BaseException:
                pipe.send((None, traceback.format_exc()))
