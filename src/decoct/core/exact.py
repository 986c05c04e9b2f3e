"""Whether JSON is, letter by letter, what decoct writes.

The digest is of what the JSON says. A blank that became a line break, or a last digit that changes
no number, leaves that as it was; here it counts as damage, too.
"""

import json
from pathlib import Path
from typing import Any

from decoct.core.errors import DecoctError


def exact_json(path: Path, text: str, *, end: str = "", **layout: Any) -> Any:
    """What `text` says; raises `DecoctError` unless `json.dumps(..., **layout)` and `end` are it.

    >>> exact_json(Path("a.json"), '{"a": 1}')
    {'a': 1}
    >>> exact_json(Path("a.json"), '{"a":1}')
    Traceback (most recent call last):
    decoct.core.errors.DecoctError: a.json is damaged (changed since it was written); make it again
    """
    content = json.loads(text)
    if json.dumps(content, **layout) + end != text:
        raise _changed(path)
    return content


def check_safetensors_header(path: Path) -> None:
    """Raise `DecoctError` unless the header is as safetensors, or `on_disk.file_head`, writes it.

    The file is known to be a safetensors file, so its header is in it and is no longer than 100 MB.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length).decode().rstrip(" ")
    entries = json.loads(text)
    compact = json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
    if text not in (compact, json.dumps(entries)):
        raise _changed(path)


def _changed(path: Path) -> DecoctError:
    return DecoctError(f"{path} is damaged (changed since it was written); make it again")
