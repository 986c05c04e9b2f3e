"""Whether JSON is, letter by letter, what decoct writes.

The digest is of what the JSON says. A blank that became a line break, or a last digit that changes
no number, leaves that as it was; here it counts as damage, too.
"""

import json
from pathlib import Path

from decoct.core.errors import DecoctError


def check_exact(path: Path, text: str, *written: str) -> None:
    """Raise `DecoctError` unless a file's text is one of those that decoct would have written."""
    if text not in written:
        raise DecoctError(
            f"{path} is damaged (changed since it was written); delete it and make it again"
        )


def check_safetensors_header(path: Path) -> None:
    """Raise `DecoctError` unless the header is as safetensors, or `on_disk.file_head`, writes it.

    The file is known to be a safetensors file, so its header is in it and is no longer than 100 MB.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length).decode().rstrip(" ")
    entries = json.loads(text)
    compact = json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
    check_exact(path, text, compact, json.dumps(entries))
