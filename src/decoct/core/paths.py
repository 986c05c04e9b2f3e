"""Paths of this machine, which files for others leave out."""

import os
import re
from pathlib import Path
from typing import Any

# After words like `timm:local-dir:` whatever is before the last part of a path with a beginning.
_FOLDERS = re.compile(r"^((?:[\w-]{2,}:)*)(?:~[^/\\]*|\.\.?|[A-Za-z]:)?[/\\](?:.*[/\\](?=.))?")


def without_paths(value: Any) -> Any:
    """A header's content with the last part of each path of this machine.

    >>> without_paths({"images": "/home/ana/photos (test)", "source": "timm:local-dir:~/nets/vit"})
    {'images': 'photos (test)', 'source': 'timm:local-dir:vit'}
    """
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if not isinstance(value, str) or "://" in value:
        return value
    return _FOLDERS.sub(r"\1", value)


def exists(path: str | Path) -> bool:
    """Whether there is something at a path; False for what is no path, where `Path` raises errors.

    >>> exists("."), exists("x" * 5000), exists("a\\0b")
    (True, False, False)
    """
    return os.path.exists(path)  # noqa: PTH110
