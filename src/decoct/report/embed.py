"""The features of every picture of a source, in a file with the pictures' names."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoct.artefacts.encoder import Encoder, load_encoder
from decoct.core import atomic, storage
from decoct.core.console import Advance, note, progress
from decoct.core.errors import DecoctError
from decoct.data.pieces import Piece, source_pieces
from decoct.report.feature_files import Named, as_line, check_format, write_features

_KIND = "features"
_SHOWN = 10  # unreadable files on the screen


def embed(
    source: str | Path,
    *,
    encoder: Encoder | Path | str,
    out: Path | str,
    device: torch.device | str = "cpu",
    batch: int = 256,
) -> Path:
    """Write the features of every picture of a source to `out`: `.npy`, `.csv` or `.parquet`.

    `source` is what `load_images` takes, `encoder` may be what `load_encoder` takes. A folder is
    read a few pictures at a time; those that cannot be read are listed in a text file beside `out`.
    Names are paths within the folder, or numbers for other sources: the column `name`, or beside a
    `.npy` file the lines of a text file.

    Finished pieces lie in a folder beside `out` until all are there, so an interrupted call goes on
    where it stopped, to the same bytes. Raises `DecoctError` if nothing can be read.

    >>> import tempfile
    >>> from decoct.artefacts.embedded_teacher import embedded_teacher
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "pool.npy", np.arange(2 * 32 * 32, dtype=np.uint8).reshape(2, 32, 32))
    >>> file = embed(folder / "pool.npy", encoder=embedded_teacher(), out=folder / "features.npy")
    >>> np.load(file).shape
    (2, 256)
    """
    out = Path(out)
    check_format(out)
    atomic.refuse_special(out)
    if batch < 1:
        raise DecoctError(f"a batch of {batch} pictures is empty; it takes at least 1")
    if not isinstance(encoder, Encoder):
        encoder = load_encoder(encoder)
    folder = out.with_name(f"{out.name}.parts")
    size, channels, file = encoder.size, encoder.channels, folder / "images.safetensors"
    pieces = source_pieces(str(source), size=size, channels=channels, file=file)
    parts = _Embedding(encoder, torch.device(device), batch).of(pieces, folder)
    _join(parts, out, str(source))
    with suppress(OSError):  # somebody else's files are in it
        for old in (*folder.glob("*.safetensors"), *folder.glob(".*.tmp")):
            old.unlink()
        folder.rmdir()
    return out


@dataclass(frozen=True)
class _Embedding:
    """What turns pieces of a source into files of features."""

    encoder: Encoder
    device: torch.device
    batch: int

    @property
    def _key(self) -> str:
        encoder = self.encoder
        facts = [asdict(encoder.config), encoder.size, self.batch]
        weights = encoder.network.body.state_dict().values()
        return storage.digest(facts, encoder.mean, encoder.std, *weights)

    def of(self, pieces: Sequence[Piece], folder: Path) -> list[Path]:
        """A file in `folder` for each piece; what is there already is not made again."""
        key = self._key
        files = [
            folder / f"{number:06d}-{storage.digest(key, piece.mark)}.safetensors"
            for number, piece in enumerate(pieces)
        ]
        todo = {
            f: p for f, p in zip(files, pieces, strict=True) if not storage.is_valid(f, kind=_KIND)
        }
        if len(todo) < len(files):
            note(f"going on with the features in {folder}")
        total, left = (sum(len(p.names) for p in some) for some in (pieces, todo.values()))
        with progress("embedding pictures", total=total, done=total - left) as advance:
            for file, piece in todo.items():
                self._make(file, piece, advance)
        return files

    def _make(self, file: Path, piece: Piece, advance: Advance) -> None:
        names: list[str] = []
        unreadable: dict[str, str] = {}
        pictures: list[NDArray[np.uint8]] = []
        read = piece.read(size=self.encoder.size, channels=self.encoder.channels)
        for name, picture in zip(piece.names, read, strict=True):
            if isinstance(picture, str):
                unreadable[name] = picture
            else:
                names.append(name)
                pictures.append(picture)
            advance("")
        meta = {"names": names, "unreadable": unreadable}
        tensors = {"features": self._features(pictures)} if pictures else {}
        storage.save_tensors(file, tensors, kind=_KIND, meta=meta)

    def _features(self, pictures: list[NDArray[np.uint8]]) -> Tensor:
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        batches = pixels.split(self.batch)
        embedded = (self.encoder.embed_pixels(b, device=self.device) for b in batches)
        return torch.cat(list(embedded))


def _join(files: Sequence[Path], out: Path, source: str) -> None:
    """Write the features of all pieces to one file, and list what could not be read."""
    counts: dict[Path, int] = {}
    unreadable: dict[str, str] = {}
    for file in files:
        meta = storage.read_header(file)["meta"]
        unreadable |= meta["unreadable"]
        if meta["names"]:
            counts[file] = len(meta["names"])
    if not counts:
        raise DecoctError(f"{source}: none of the {len(unreadable)} pictures can be read")
    features = _features_of(next(iter(counts)))[1].shape[1]
    write_features(out, map(_features_of, counts), rows=sum(counts.values()), features=features)
    _list_unreadable(out.with_suffix(".unreadable.txt"), unreadable, sum(counts.values()))


def _features_of(file: Path) -> Named:
    tensors, meta = storage.load_tensors(file, kind=_KIND)
    return meta["names"], tensors["features"].numpy()


def _list_unreadable(listed: Path, unreadable: dict[str, str], others: int) -> None:
    listed.unlink(missing_ok=True)  # of an earlier call
    if not unreadable:
        return
    lines = [as_line(f"{name}: {reason}") for name, reason in unreadable.items()]
    atomic.write_text(listed, "\n".join(lines) + "\n")
    shown = "\n  ".join(lines[:_SHOWN]) + "\n  ..." * (len(lines) > _SHOWN)
    total = len(lines) + others
    note(f"{len(lines)} of {total} pictures cannot be read; {listed} lists them:\n  {shown}")
