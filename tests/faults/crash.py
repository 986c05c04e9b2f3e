"""What a disk may hold after a power cut, as ALICE has it: what was not synced may be gone.

Pillai et al., "All file systems are not created equal" (OSDI 2014). A file that was not synced may
be empty or cut short; a name that was made, moved or removed may be as before until its folder is
synced, whatever happened to other names later.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.disk import Operation

# What a power cut leaves: names to contents, and folders (None).
State = dict[Path, bytes | None]
_LAST = 3  # of the names that are not synced, how many are lost or kept one by one


@dataclass(eq=False)
class _File:
    data: bytes = b""
    synced: bytes = b""


@dataclass(eq=False)
class _Change:
    """A name that now means another file, folder (None) or nothing ("")."""

    names: tuple[tuple[Path, "_File | str | None"], ...]

    @property
    def folders(self) -> set[Path]:
        return {name.parent for name, _ in self.names}


@dataclass
class _Model:
    """Names as they are, and the changes to them that a power cut may undo."""

    durable: dict[Path, _File | None] = field(default_factory=dict)
    pending: list[_Change] = field(default_factory=list)

    @classmethod
    def of(cls, before: State) -> "_Model":
        return cls({p: None if data is None else _File(data, data) for p, data in before.items()})

    def change(self, *names: tuple[Path, _File | str | None]) -> None:
        self.pending.append(_Change(names))

    def names(self, kept: Iterable[_Change]) -> dict[Path, _File | None]:
        found = dict(self.durable)
        for change in kept:
            for name, file in change.names:
                if isinstance(file, str):
                    found.pop(name, None)
                else:
                    found[name] = file
        return found

    def now(self) -> dict[Path, _File | None]:
        return self.names(self.pending)

    def apply(self, operation: Operation) -> None:
        path, kind = operation.path, operation.kind
        names = self.now()
        if kind in ("create", "save"):
            file = names.get(path)
            if kind == "save" or not isinstance(file, _File):
                file = _File()
                self.change((path, file))
            file.data = operation.data
        elif kind == "write":
            file = names[path]
            assert isinstance(file, _File)
            before = file.data.ljust(operation.offset, b"\0")
            after = before[operation.offset + len(operation.data) :]
            file.data = before[: operation.offset] + operation.data + after
        elif kind == "sync":
            file = names.get(path)
            if isinstance(file, _File):
                file.synced = file.data
            else:
                self._sync_folder(path)
        elif kind == "replace" and path in names:
            assert operation.to is not None
            self.change((path, ""), (operation.to, names[path]))
        elif kind == "link" and path in names:
            assert operation.to is not None
            self.change((operation.to, names[path]))
        elif kind == "mkdir" and path not in names:
            self.change((path, None))
        elif kind in ("unlink", "rmdir") and path in names:
            self.change((path, ""))

    def _sync_folder(self, folder: Path) -> None:
        done = [change for change in self.pending if folder in change.folders]
        self.durable = self.names(done)
        self.pending = [change for change in self.pending if change not in done]


def states(
    root: Path, operations: Iterable[Operation], before: State
) -> Iterator[tuple[int, State]]:
    """The states below `root` after a power cut following each prefix, with its length.

    Equal ones come once.
    """
    model = _Model.of(before)
    seen: set[int] = set()
    for count, operation in enumerate(operations, start=1):
        if operation.kind in ("open", "read", "load"):
            continue
        model.apply(operation)
        for state in _after_a_cut(root, model):
            mark = hash(frozenset(state.items()))
            if mark not in seen:
                seen.add(mark)
                yield count, state


def after_all(root: Path, operations: Iterable[Operation], before: State) -> list[State]:
    """What a power cut may leave once all of this is done."""
    model = _Model.of(before)
    for operation in operations:
        model.apply(operation)
    return list(_after_a_cut(root, model))


def _after_a_cut(root: Path, model: _Model) -> Iterator[State]:
    pending = model.pending
    choices = [pending, []]
    for number in range(max(0, len(pending) - _LAST), len(pending)):
        choices += [pending[:number] + pending[number + 1 :], [pending[number]]]
    cuts: list[Callable[[_File], bytes]] = [
        lambda file: file.data,  # the process died, not the machine
        lambda file: file.synced,
        lambda file: file.data if file.data == file.synced else file.data[: len(file.data) // 2],
    ]
    for kept in choices:
        names = model.names(kept)
        for cut in cuts:
            found = {p: None if f is None else cut(f) for p, f in names.items()}
            yield {p: data for p, data in found.items() if _has_folders(root, p, found)}


def _has_folders(root: Path, path: Path, found: State) -> bool:
    """Whether the folders between `root` and a name are there."""
    inside = path.relative_to(root).parents[:-1]
    return all(found.get(root / folder, b"") is None for folder in inside)
