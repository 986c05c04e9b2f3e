"""Our files: safetensors and JSON with their kind, version and digest."""

import dataclasses
import hashlib
import json
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from decoct.core import atomic
from decoct.core.errors import DecoctError, DivergedError, ForeignError, UnreadableError
from decoct.core.exact import check_exact, check_safetensors_header
from decoct.core.on_disk import DiskTensor, chunks_of, file_head, read_tensors, write_rows
from decoct.core.settings import of_results

Opened = tuple[dict[str, DiskTensor], dict[str, Tensor], dict[str, Any]]
Read = Callable[[Path], tuple[dict[str, DiskTensor], dict[str, Tensor]]]
Finish = Callable[[DiskTensor], tuple[Mapping[str, Tensor], Mapping[str, Any]]]
FORMAT_VERSION = 3
_READABLE = (1, 2, 3)  # `artefacts.old_formats` says what changed in 2; `_digest_of` what in 3
_KIND_NOT_DIGESTED = (1, 2)  # versions
_SHOWN = 40  # characters of what a header says
_METADATA_KEY = "decoct"  # a single key: safetensors does not preserve the order of several


def digest(*parts: Any) -> str:
    """A 16-hex-digit digest of tensors, dataclasses and anything that JSON can represent.

    Settings on which no result depends do not count.

    >>> digest({"a": 1}) == digest({"a": 1}), digest({"a": 1}) == digest({"a": 2})
    (True, False)
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor | DiskTensor):
            sha.update(f"{part.dtype}{tuple(part.shape)}".encode())
            for chunk in chunks_of(part, "checking"):
                flat = chunk.detach().cpu().contiguous().view(-1)
                sha.update(flat.view(torch.uint8).numpy().data)
        else:
            sha.update(json.dumps(_plain(part), sort_keys=True).encode())
        sha.update(b";")
    return sha.hexdigest()[:16]


def save_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], *, kind: str, meta: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-able `meta` as one safetensors file with a digest over both.

    Raises `DivergedError` for numbers that are not finite: no stage may hand them on.
    """
    path = Path(path)
    _check_finite(kind, tensors)
    cpu: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        shared = any(memory == other.untyped_storage().data_ptr() for other in cpu.values())
        cpu[name] = plain.clone() if shared else plain  # safetensors refuses shared memory
    metadata = _metadata(kind, meta, cpu)
    with atomic.new_file(path) as temporary:
        safetensors.torch.save_file(cpu, temporary, metadata=metadata)


def _check_finite(kind: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DivergedError(
                f"{kind}: {name} holds numbers that are not finite, so it is not kept; lower the "
                "learning rate, or check what it was made from"
            )


def save_rows(
    path: Path | str,
    rows: Iterable[Tensor],
    *,
    name: str,
    kind: str,
    room: int,
    finish: Finish,
) -> None:
    """Write the uint8 tensor `name` as its rows arrive; otherwise like `save_tensors`.

    `finish` gets the tensor in the file and returns the other tensors and the JSON-able meta. Those
    are written before it, in the `room` bytes (a multiple of 8) that are reserved for them. Raises
    `DecoctError` if that is too little.
    """
    path = Path(path)
    with atomic.new_file(path) as temporary:
        stored = write_rows(temporary, rows, offset=room)
        others, meta = finish(stored)
        metadata = _metadata(kind, meta, {**others, name: stored})
        head = file_head(name, stored, others=others, metadata=metadata)
        if len(head) > room:
            raise DecoctError(f"{path}: the images' metadata is longer than {room} bytes")
        with temporary.open("r+b") as file:
            file.write(head)


def load_tensors(path: Path | str, *, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises `DecoctError` for a file that is missing, cut short, altered, of another kind or of
    another format version.
    """
    _, tensors, meta = _load(Path(path), kind, lambda file: ({}, safetensors.torch.load_file(file)))
    return tensors, meta


def open_tensors(path: Path | str, *, kind: str) -> Opened:
    """As `load_tensors`, but uint8 tensors too large for memory stay in the file and come first."""
    return _load(Path(path), kind, read_tensors)


def _load(path: Path, kind: str, read: Read) -> Opened:
    header = read_header(path)
    _check_header(path, header, kind)
    with _reading(path):
        stored, tensors = read(path)
        found = _digest_of(header, {**stored, **tensors})
    if header.get("digest") != found:
        raise _damaged(path, "its digest does not match its contents")
    return stored, tensors, header["meta"]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file is damaged, or cannot be read: a colleague's, or on a failing disk."""
    try:
        yield
    except DecoctError:
        raise
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    except (OSError, RuntimeError) as error:  # torch's, where it cannot open or map a file
        raise UnreadableError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); "
            "nothing was changed"
        ) from error


def is_there(path: Path) -> bool:
    """Whether there is such a file; raises `UnreadableError` if the system does not say.

    So it does for what is no file: a folder, or a pipe on which reading would wait for ever.
    """
    with _reading(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"{path} is not a file; nothing was changed")
    return True


def read_header(path: Path) -> dict[str, Any]:
    """The header of one of our files (kind, version, digest, meta), unchecked."""
    if not is_there(path):
        raise DecoctError(f"{path} does not exist")
    if path.suffix == ".json":
        return _read_json_header(path)
    with _reading(path):
        path.open("rb").close()  # safetensors does not say why it cannot open a file
        with safetensors.safe_open(path, framework="numpy") as file:  # "pt" maps it for writing
            metadata = file.metadata() or {}
    if _METADATA_KEY not in metadata:
        raise ForeignError(f"{path} is a safetensors file, but decoct did not write it")
    with _reading(path):
        check_safetensors_header(path)
        header = _checked_shape(path, json.loads(metadata[_METADATA_KEY]))
        check_exact(path, metadata[_METADATA_KEY], _header_text(header))
    return header


def save_json(path: Path | str, content: Mapping[str, Any], *, kind: str) -> None:
    """Write JSON with kind, format version and digest, atomically."""
    header = {"kind": kind, "version": FORMAT_VERSION, "digest": "", "meta": _plain(content)}
    header["digest"] = _digest_of(header)
    atomic.write_text(Path(path), _json_text(header))


def _json_text(header: Mapping[str, Any]) -> str:
    return json.dumps(header, indent=1) + "\n"


def load_json(path: Path | str, *, kind: str) -> dict[str, Any]:
    """Read what `save_json` wrote, with the same checks as `load_tensors`."""
    path = Path(path)
    if not is_there(path):
        raise DecoctError(f"{path} does not exist")
    header = _read_json_header(path)
    _check_header(path, header, kind)
    with _reading(path):
        found = _digest_of(header)
    if header.get("digest") != found:
        raise _damaged(path, "its digest does not match its contents")
    meta: dict[str, Any] = header["meta"]
    return meta


def _read_json_header(path: Path) -> dict[str, Any]:
    with _reading(path):
        text = path.read_bytes().decode()  # `read_text` would take other ends of lines for the same
        header = _checked_shape(path, json.loads(text))
        check_exact(path, text, _json_text(header))
        return header


def is_valid(path: Path, *, kind: str) -> bool:
    """Whether `path` is a complete, unaltered artefact of this kind and format version.

    Raises `UnreadableError` if it exists, but cannot be read: then nobody knows.
    """
    try:
        load_json(path, kind=kind) if path.suffix == ".json" else open_tensors(path, kind=kind)
    except UnreadableError:
        raise
    except DecoctError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and paths converted to what JSON can represent."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in of_results(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def _metadata(
    kind: str, meta: Mapping[str, Any], tensors: Mapping[str, Tensor | DiskTensor]
) -> dict[str, str]:
    """Our header, as safetensors keeps it."""
    header = {"kind": kind, "version": FORMAT_VERSION, "meta": _plain(meta)}
    header["digest"] = _digest_of(header, tensors)
    return {_METADATA_KEY: _header_text(header)}


def _header_text(header: Mapping[str, Any]) -> str:
    return json.dumps(header, sort_keys=True)


def _digest_of(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor | DiskTensor] | None = None
) -> str:
    """A digest of all that a file says; until version 3 its kind and version did not count."""
    said: list[Any] = [header["meta"]]
    if header["version"] not in _KIND_NOT_DIGESTED:
        said = [header["kind"], header["version"], *said]
    if tensors is not None:
        names = sorted(tensors)
        said += [names, *(tensors[name] for name in names)]
    return digest(*said)


def _check_header(path: Path, header: Mapping[str, Any], kind: str) -> None:
    if header.get("kind") != kind:
        held = repr(header.get("kind"))[:_SHOWN]
        raise DecoctError(f"{path} holds {held}; {kind!r} is needed here")
    version = header.get("version")
    if type(version) is not int or version not in _READABLE:  # true is 1
        raise DecoctError(
            f"{path} was written in format version {str(version)[:_SHOWN]}; this decoct reads "
            f"versions up to {FORMAT_VERSION}: make it again, or install the decoct that wrote it"
        )


def _checked_shape(path: Path, header: Any) -> dict[str, Any]:
    known = isinstance(header, dict) and {"kind", "version", "digest", "meta"} == set(header)
    if not known or not isinstance(header["meta"], dict):
        raise ForeignError(f"{path} does not have the header that decoct writes")
    found: dict[str, Any] = header
    return found


def _damaged(path: Path, reason: str) -> DecoctError:
    return DecoctError(f"{path} is damaged ({reason}); delete it and make it again")
