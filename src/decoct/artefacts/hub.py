"""A distilled set on the Hugging Face hub: one safetensors file in a data set repository."""

import re
from pathlib import Path
from typing import Any

from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra

PREFIX = "hf:"
FILE = "distilled.safetensors"  # in the repository
# A branch, a tag or a commit: the cache has a file of that name, which must not lie outside of it.
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]*")


def repository(name: str) -> tuple[str, str | None]:
    """The repository and the revision that a name stands for.

    A name is `OWNER/NAME`, with `hf:` before it and `@REVISION` after it or without. Raises
    `DecoctError` for what the hub does not allow.

    >>> repository("hf:ana/flowers@v1"), repository("ana/flowers")
    (('ana/flowers', 'v1'), ('ana/flowers', None))
    """
    repo, at, revision = name.removeprefix(PREFIX).partition("@")
    validators: Any = import_extra("huggingface_hub.utils", extra="hf", package="huggingface_hub")
    try:
        validators.validate_repo_id(repo)
    except ValueError as error:
        raise DecoctError(f"{name} is no name of a data set on the hub: {error}") from error
    if "/" not in repo or (at and not _REVISION.fullmatch(revision)):
        raise DecoctError(
            f"{name} is no name of a data set on the hub; write OWNER/NAME, where OWNER is a user "
            "or an organisation there, and OWNER/NAME@REVISION for one version of it"
        )
    return repo, revision or None


def download(name: str) -> Path:
    """The file of the set `[hf:]OWNER/NAME[@REVISION]`, in the cache of `huggingface_hub`.

    Without a network, a file that was downloaded before is found there. Raises `DecoctError` if
    there is no such data set or revision, or if it holds no set of ours.
    """
    hub: Any = import_extra("huggingface_hub", extra="hf", package="huggingface_hub")
    errors: Any = import_extra("huggingface_hub.errors", extra="hf", package="huggingface_hub")
    repo, revision = repository(name)
    try:
        return Path(hub.hf_hub_download(repo, FILE, repo_type="dataset", revision=revision))
    except errors.RepositoryNotFoundError as error:
        raise DecoctError(
            f"the hub has no data set {repo}, or you may not see it; check the name, and if it is "
            "private, run: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DecoctError(
            f"{repo} has no revision {revision}; see its history on the hub"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise DecoctError(
            f"the hub cannot be reached, and {repo} was not downloaded before; try again with a "
            "network"
        ) from error
    except errors.EntryNotFoundError as error:
        raise DecoctError(
            f"{repo} holds no {FILE}, so it is no set of decoct's; to use it as images, give "
            f"--images.source hf:{repo}"
        ) from error
    except Exception as error:  # the hub's exceptions have no common base
        raise DecoctError(f"{repo} cannot be downloaded: {error}") from error
