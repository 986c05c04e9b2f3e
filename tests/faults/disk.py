"""`Disk`: what a program does to the files below a folder, noted, and the nth of it failing."""

import builtins
import errno
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors
import safetensors.torch

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR)


@dataclass(frozen=True)
class Operation:
    """One call to the system."""

    # open, create, read, write, sync, replace, link, unlink, mkdir, rmdir; Rust: save, load
    kind: str
    path: Path
    data: bytes = b""  # what is written
    offset: int = 0  # where to
    to: Path | None = None  # the new name


@dataclass
class Disk:
    """The files below `root`: each operation is noted, and number `fail` ends with `error`."""

    root: Path
    fail: int | None = None
    error: int = errno.EIO
    operations: list[Operation] = field(default_factory=list)
    failed: Operation | None = None
    _names: dict[int, Path] = field(default_factory=dict)  # of open descriptors
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside the block, Python's and safetensors' functions for files go through this."""
        patches = [
            mock.patch.object(io, "open", self._open),
            mock.patch.object(builtins, "open", self._open),
            mock.patch.object(os, "open", self._os_open),
            mock.patch.object(os, "fsync", self._fsync),
            mock.patch.object(safetensors.torch, "save_file", self._save_file),
            mock.patch.object(safetensors.torch, "load_file", self._loading("load_file")),
            mock.patch.object(safetensors, "safe_open", self._loading("safe_open")),
        ]
        kinds = {"replace": "replace", "rename": "replace", "link": "link", "mkdir": "mkdir"}
        kinds |= {"unlink": "unlink", "remove": "unlink", "rmdir": "rmdir"}
        patches += [mock.patch.object(os, name, self._named(name, kinds[name])) for name in kinds]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()

    def _note(self, kind: str, path: Any, **more: Any) -> None:
        """Note an operation that is about to happen; raise if it is the one that fails."""
        path = Path(path)
        if not path.is_relative_to(self.root):
            return
        with self._lock:
            operation = Operation(kind, path, **more)
            number = len(self.operations)
            self.operations.append(operation)
            if number != self.fail:
                return
            self.failed = operation
        raise OSError(self.error, os.strerror(self.error), str(path))

    def _open(self, file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if isinstance(file, int) or not Path(os.fsdecode(file)).is_relative_to(self.root):
            return _OPEN(file, mode, *arguments, **more)
        path = Path(os.fsdecode(file))
        new = mode[0] in "wx" or (mode[0] == "a" and not path.exists())
        self._note("create" if new else "open", path)
        opener = more.pop("opener", None)
        raw = _Raw(self, path, mode.replace("t", "").replace("b", ""), opener)
        return _stacked(raw, mode, *arguments, **more)

    def _os_open(self, path: Any, *arguments: Any, **more: Any) -> int:
        if more.get("dir_fd") is None:
            self._note("open", os.fsdecode(path))
        descriptor = _OS["open"](path, *arguments, **more)
        self._names[descriptor] = Path(os.fsdecode(path))
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        self._note("sync", self._names[descriptor])  # no power is cut, so that will do

    def _named(self, name: str, kind: str) -> Any:
        def call(path: Any, *arguments: Any, **more: Any) -> None:
            if more.get("dir_fd") is None:
                to = {"to": Path(arguments[0])} if kind in ("replace", "link") else {}
                self._note(kind, os.fsdecode(path), **to)
            _OS[name](path, *arguments, **more)

        return call

    def _save_file(self, tensors: Any, path: Any, **more: Any) -> None:
        """What Rust writes into a file of its own, and moves to this name."""
        data = safetensors.torch.save(tensors, **more)
        self._note("save", path, data=data)
        _SAVE_FILE(tensors, path, **more)

    def _loading(self, name: str) -> Any:
        """What torch raises if it cannot open or map a file is not what the system says."""
        given = {"load_file": _LOAD_FILE, "safe_open": _SAFE_OPEN}[name]

        def call(path: Any, *arguments: Any, **more: Any) -> Any:
            try:
                self._note("load", path)
            except OSError as error:
                if name == "load_file":
                    raise RuntimeError(f"unable to open file <{path}>: {error.strerror}") from None
                raise
            return given(path, *arguments, **more)

        return call


class _Raw(io.FileIO):
    """An open file whose reads and writes are noted; of a write that fails, half is on the disk."""

    def __init__(self, disk: Disk, path: Path, mode: str, opener: Any) -> None:
        super().__init__(os.fspath(path), mode, opener=opener)
        self._disk, self._path = disk, path
        disk._names[self.fileno()] = path

    def write(self, data: Any) -> int:
        data = bytes(data)
        end = self._path.stat().st_size if "a" in self.mode else self.tell()
        try:
            self._disk._note("write", self._path, data=data, offset=end)
        except OSError as error:
            if error.errno != errno.EINTR:  # after which Python writes again
                super().write(data[: len(data) // 2])
            raise
        return super().write(data)

    def readinto(self, buffer: Any) -> int:
        self._disk._note("read", self._path)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._disk._note("read", self._path)
        return super().readall()

    def read(self, size: int | None = -1) -> Any:
        self._disk._note("read", self._path)
        return super().read(-1 if size is None else size)


def _stacked(
    raw: _Raw,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """As `io.open` stacks buffers and text on a raw file."""
    if buffering == 0:
        return raw
    if "+" in mode:
        kind: Any = io.BufferedRandom
    else:
        kind = io.BufferedReader if "r" in mode else io.BufferedWriter
    buffered = kind(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


_OPEN = io.open
_NAMES = ("open", "replace", "rename", "link", "mkdir", "unlink", "remove", "rmdir")
_OS = {name: getattr(os, name) for name in _NAMES}
_SAVE_FILE, _LOAD_FILE = safetensors.torch.save_file, safetensors.torch.load_file
_SAFE_OPEN = safetensors.safe_open
