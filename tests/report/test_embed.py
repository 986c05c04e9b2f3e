"""Features of every picture: named, safe to open, and the same after an interruption."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from decoct.artefacts.encoder import Encoder, load_encoder
from decoct.cli import main
from decoct.core.errors import DecoctError
from decoct.data import pieces
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig
from decoct.report.embed import embed
from decoct.training.pretrain import fresh_encoder
from tests.conftest import smooth_pixels

SIZE, COUNT = 16, 11


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    statistics = torch.full((3,), 0.5), torch.full((3,), 0.25)
    made = fresh_encoder(
        NetworkConfig(width=4, depth=2), mean=statistics[0], std=statistics[1], size=SIZE, seed=0
    )
    made.network.remove_head()
    made.save(tmp_path / "encoder.safetensors")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos/sub").mkdir(parents=True)
    for i, pixels in enumerate(smooth_pixels(COUNT, seed=0, size=SIZE)):
        name = f"sub/{i:02d}.png" if i % 3 else f"{i:02d}.png"
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / name)
    (tmp_path / "photos/sub/spoilt.jpg").write_text("no picture")
    return tmp_path / "photos"


NAMES = [f"{i:02d}.png" for i in range(0, COUNT, 3)]
NAMES += [f"sub/{i:02d}.png" for i in range(COUNT) if i % 3]


def expected(encoder: Encoder) -> np.ndarray[Any, Any]:
    order = [int(name.removeprefix("sub/")[:2]) for name in NAMES]
    return encoder.embed(Images.from_array(smooth_pixels(COUNT, seed=0))).numpy()[order]


def read_npy(out: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    return out.with_suffix(".names.txt").read_text("utf-8").splitlines(), np.load(out)


def read_csv(out: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    with out.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["name", *(f"f{i}" for i in range(len(header) - 1))]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float32)


def read_parquet(out: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    table = pq.read_table(out)
    return table["name"].to_pylist(), np.array(table["features"].to_pylist(), dtype=np.float32)


READERS = {".npy": read_npy, ".csv": read_csv, ".parquet": read_parquet}


@pytest.mark.parametrize("kind", READERS)
def test_every_picture_has_its_name_and_features(
    kind: str, encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_MOST", 4)
    out = tmp_path / f"features{kind}"
    arguments = (tmp_path / "encoder.safetensors", folder, "--out", out, "--batch", 3)
    assert main(["embed", *map(str, arguments), "--device", "cpu"]) == 0
    names, features = READERS[kind](out)
    assert names == NAMES and features.dtype == np.float32
    np.testing.assert_allclose(features, expected(encoder), atol=1e-5)
    unreadable = (tmp_path / "features.unreadable.txt").read_text()
    assert unreadable.startswith("sub/spoilt.jpg: ") and len(unreadable.splitlines()) == 1
    assert not list(tmp_path.glob("*.parts"))
    (folder / "sub/spoilt.jpg").unlink()
    embed(folder, encoder=encoder, out=out)
    assert not (tmp_path / "features.unreadable.txt").exists()


def test_all_formats_hold_the_same_bits(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    for kind in READERS:
        embed(folder, encoder=encoder, out=tmp_path / f"f{kind}")
    found = [read(tmp_path / f"f{kind}")[1] for kind, read in READERS.items()]
    assert all(np.array_equal(found[0], other) for other in found[1:])


class Interrupting(Encoder):
    """An encoder that somebody stops in the third batch."""

    def embed_pixels(self, pixels: Tensor, **more: Any) -> Tensor:
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return super().embed_pixels(pixels, **more)


calls: list[int] = []


@pytest.mark.parametrize("kind", READERS)
def test_it_goes_on_where_it_was_interrupted(
    kind: str, encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_MOST", 4)
    whole, out = tmp_path / f"whole{kind}", tmp_path / f"features{kind}"
    embed(folder, encoder=encoder, out=whole, batch=4)
    calls.clear()
    stopped = Interrupting(**vars(encoder))
    with pytest.raises(KeyboardInterrupt):
        embed(folder, encoder=stopped, out=out, batch=4)
    assert calls == [4, 4, 3] and not out.exists()
    embed(folder, encoder=stopped, out=out, batch=4)
    assert calls == [4, 4, 3, 3]
    assert out.read_bytes() == whole.read_bytes()


def test_what_changed_since_an_interruption_is_made_anew(
    encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_MOST", 4)
    out = tmp_path / "f.npy"
    for changed in ("a picture", "the encoder"):
        calls.clear()
        stopped = Interrupting(**vars(encoder))
        with pytest.raises(KeyboardInterrupt):
            embed(folder, encoder=stopped, out=out, batch=4)
        if changed == "a picture":
            Image.new("RGB", (20, 30), "red").save(folder / "00.png")
        else:
            with torch.no_grad():
                next(encoder.network.body.parameters()).mul_(2)
        embed(folder, encoder=stopped, out=out, batch=4)
        assert len(calls) == {"a picture": 5, "the encoder": 6}[changed]
        embed(folder, encoder=encoder, out=tmp_path / "whole.npy", batch=4)
        assert out.read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_name_is_a_formula(start: str, encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    name = f'{start}HYPERLINK("a",b);\n.png'
    (folder / "00.png").rename(folder / name)
    embed(folder, encoder=encoder, out=tmp_path / "f.csv")
    names, _ = read_csv(tmp_path / "f.csv")
    assert f"'{name}" in names and len(names) == COUNT
    assert not any(cell.startswith(start) for cell in names)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_are_lines_and_text(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    (folder / "00.png").rename(folder / "a\nb\\.png")
    (folder / "03.png").rename(os.fsdecode(os.fsencode(folder / "na") + b"\xefve.png"))
    for kind in READERS:
        embed(folder, encoder=encoder, out=tmp_path / f"f{kind}")
    lines, _ = read_npy(tmp_path / "f.npy")
    assert len(lines) == COUNT and {r"a\nb\\.png", r"na\\xefve.png"} <= set(lines)
    names, _ = read_parquet(tmp_path / "f.parquet")
    assert {"a\nb\\.png", r"na\xefve.png"} <= set(names)


def test_other_sources_are_named_by_number(encoder: Encoder, tmp_path: Path) -> None:
    pixels = smooth_pixels(9, seed=1, size=20, channels=1)
    np.savez(tmp_path / "pool.npz", images=pixels.numpy())
    embed(tmp_path / "pool.npz", encoder=encoder, out=tmp_path / "f.csv", batch=4)
    names, features = read_csv(tmp_path / "f.csv")
    images = Images.from_array(pixels, size=SIZE, channels=3)
    assert names == [str(i) for i in range(9)]
    np.testing.assert_allclose(features, encoder.embed(images).numpy(), atol=1e-5)
    assert not list(tmp_path.glob("*.parts"))


def test_what_cannot_be_embedded_is_refused(
    encoder: Encoder,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(DecoctError, match=r"f.txt: features are written as .npy, .csv, .parquet"):
        embed(folder, encoder=encoder, out=tmp_path / "f.txt")
    with pytest.raises(DecoctError, match="batch of 0"):
        embed(folder, encoder=encoder, out=tmp_path / "f.npy", batch=0)
    (tmp_path / "others").mkdir()
    (tmp_path / "others/a.png").write_text("")
    with pytest.raises(DecoctError, match="none of the 1 pictures can be read"):
        embed(tmp_path / "others", encoder=encoder, out=tmp_path / "f.npy")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = str(tmp_path / "encoder.safetensors")
    assert main(["embed", file, str(folder), "--out", str(tmp_path / "f.parquet")]) == 2
    assert "pip install 'decoct[parquet]'" in capsys.readouterr().err


def test_an_encoder_is_found_in_its_folder(encoder: Encoder, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(DecoctError, match="does not exist"):
        load_encoder(run)
    encoder.save(run / "teacher-ab/teacher.safetensors")
    assert load_encoder(run).config == encoder.config
    encoder.save(run / "encoder-a-seed0-cd/encoder.safetensors")
    other = fresh_encoder(NetworkConfig(), mean=encoder.mean, std=encoder.std, size=8, seed=0)
    other.save(run / "encoder-b-seed0-ef/encoder.safetensors")
    assert load_encoder(run / "encoder-b-seed0-ef").size == 8
    with pytest.raises(
        DecoctError, match=r"2 encoders; .*: encoder-a-seed0-cd, encoder-b-seed0-ef"
    ):
        load_encoder(run)
    other.save(run / "encoder.safetensors")  # the run's own
    assert load_encoder(run).size == 8
    (tmp_path / "empty").mkdir()
    with pytest.raises(DecoctError, match="holds no encoder"):
        load_encoder(tmp_path / "empty")
