"""Share a distilled set: a data set repository on the Hugging Face hub, or in a folder."""

import tempfile
from pathlib import Path
from typing import Any

from decoct.artefacts.distilled import load_distilled
from decoct.artefacts.hub import FILE, repository
from decoct.artefacts.old_formats import upgraded
from decoct.core import atomic, storage
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.core.paths import without_paths
from decoct.evaluation.scores import Scores
from decoct.report.card import Measured, card
from decoct.report.image_grid import png_bytes
from decoct.report.rows import write_rows
from decoct.report.show import picture

_KIND = "distilled"
_NO_LICENCE = (
    "the card names no licence; give --licence the terms of the pictures that the set was made "
    "from, such as cc-by-4.0 or the words of their owner: the set shows them to everybody, and "
    "without terms nobody knows whether they may use it"
)


def push(
    path: Path | str,
    *,
    name: str,
    dry_run: Path | str | None = None,
    private: bool = False,
    licence: str = "",
) -> str:
    """Make the data set repository `name` (OWNER/NAME) of a distilled set; returns where it lies.

    `path` is the set's file, or the folder of a run with one at its top. The repository has the
    file itself without the paths of this machine, its images and targets as Parquet, a picture and
    a card, with the scores of the run that made the set. `licence` is that of the images it was
    made from: the hub's name for it, several with commas between, or any words.

    `dry_run` is a new or empty folder to write all of it into; then nothing is uploaded, and
    neither login nor network is needed. Raises `DecoctError` if `path` is no complete set, or the
    hub refuses.

    >>> import decoct, torch
    >>> here = Path(tempfile.mkdtemp())
    >>> decoct.DistilledSet(images=torch.rand(2, 3, 8, 8), targets=torch.rand(2, 5),
    ...                     rule=decoct.TrainingRule(batch=2), mean=torch.zeros(3),
    ...                     std=torch.ones(3), method="mkdt").save(here / "set.safetensors")
    >>> out = push(here / "set.safetensors", name="ana/dots", dry_run=here / "dots", licence="mit")
    >>> sorted(file.name for file in Path(out).iterdir())
    ['README.md', 'data', 'distilled.safetensors', 'pictures.png']
    """
    file, (repo, revision) = _set_file(Path(path)), repository(name)
    if revision:
        raise DecoctError(f"{name}: a set is pushed as the newest version, so name no revision")
    if not licence.strip():
        note(_NO_LICENCE)
    if dry_run is not None:
        folder = Path(dry_run)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DecoctError(f"{folder} already exists and is not an empty folder; name a new one")
        _write(file, folder, name=repo, licence=licence)
        return str(folder)
    api = _logged_in()
    with tempfile.TemporaryDirectory() as temporary:
        _write(file, Path(temporary), name=repo, licence=licence)
        return _upload(api, Path(temporary), repo, private=private)


def _set_file(path: Path) -> Path:
    file = path / FILE if path.is_dir() else path
    if not file.exists() and path.is_dir():
        raise DecoctError(f"{path} holds no {FILE}; name a set's file, or a run that made one")
    return file


def _write(file: Path, folder: Path, *, name: str, licence: str) -> None:
    """Everything that the repository holds."""
    tensors, meta = upgraded(*storage.load_tensors(file, kind=_KIND))
    storage.save_tensors(folder / FILE, tensors, kind=_KIND, meta=without_paths(meta))
    distilled = load_distilled(folder / FILE)
    drawn = picture(folder / FILE)
    assert drawn is not None  # a set has images
    with atomic.new_file(folder / "pictures.png") as temporary:
        temporary.write_bytes(png_bytes(drawn[0]))
    write_rows(distilled, folder / "data" / "train-00000-of-00001.parquet")
    measured = _measured(file, distilled.method)
    text = card(distilled, name=name, caption=drawn[1], licence=licence.strip(), measured=measured)
    atomic.write_text(folder / "README.md", text)


def _measured(file: Path, method: str) -> Measured:
    """What the run that made the set has measured of its method."""
    runs = [folder for folder in file.resolve().parents[:2] if (folder / "run.json").is_file()]
    if not runs:
        return Measured()
    scores, judged = runs[0] / "scores.json", runs[0] / "label_free.json"
    found = Scores.load(scores) if scores.is_file() else None
    if found and method not in {score.method for score in found.scores}:
        found = None
    content = storage.load_json(judged, kind="label-free") if judged.is_file() else {"rows": []}
    rows = content["rows"] if any(row["method"] == method for row in content["rows"]) else []
    return Measured(found, rows, content.get("left_out", 0))


def _logged_in() -> Any:
    """The hub's interface, for a user whom it knows."""
    hub: Any = import_extra("huggingface_hub", extra="hf", package="huggingface_hub")
    api = hub.HfApi()
    if hub.get_token() is None:
        raise DecoctError(
            "you are not logged in to the Hugging Face hub; run: hf auth login (with a token that "
            "may write), or write the files with --dry-run FOLDER"
        )
    try:
        api.whoami()
    except Exception as error:  # the hub's exceptions have no common base
        raise DecoctError(
            f"the Hugging Face hub cannot be reached, or does not know you ({error}); try again "
            "with a network, run: hf auth login, or write the files with --dry-run FOLDER"
        ) from error
    return api


def _upload(api: Any, folder: Path, repo: str, *, private: bool) -> str:
    """Returns the address of the repository."""
    try:
        url = api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise DecoctError(f"{url} is public already; make it private there, or name a new one")
        api.upload_folder(
            folder_path=folder, repo_id=repo, repo_type="dataset", commit_message="Push by decoct"
        )
    except DecoctError:
        raise
    except Exception as error:  # the hub's exceptions have no common base
        raise DecoctError(f"the Hugging Face hub did not take {repo}: {error}") from error
    return str(url)
