"""Fetch a distilled set that somebody shared on the Hugging Face hub."""

import shutil
from pathlib import Path

from decoct.artefacts.distilled import load_distilled
from decoct.artefacts.hub import download, repository
from decoct.core import atomic
from decoct.core.errors import DecoctError


def pull(name: str, *, out: Path | str | None = None) -> Path:
    """Download the set `OWNER/NAME[@REVISION]` to the file `out`, and check it; returns the file.

    Without `out` it is `NAME.safetensors` in the working directory. Raises `DecoctError` if that
    exists already, if the hub has no such set, or if it is damaged.

    >>> pull("ana/dots", out="dots.safetensors")  # doctest: +SKIP
    PosixPath('dots.safetensors')
    """
    repo, _ = repository(name)
    file = Path(out) if out else Path(f"{repo.partition('/')[2]}.safetensors")
    if file.exists():
        raise DecoctError(f"{file} already exists; name a new file with --out")
    found = download(name)
    load_distilled(found)  # raises for what is damaged, or no set
    with atomic.new_file(file) as temporary:
        shutil.copyfile(found, temporary)
    return file
