"""Hostile CSV, Parquet and Hugging Face data sets: read, or refused in a sentence."""

import json
import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from decoct.artefacts.hub import repository
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.data.fingerprint import fingerprint
from decoct.data.sources import load_images
from decoct.data.table import read_table
from tests.hostile.bounded import bounded, peak
from tests.hostile.test_pictures import png, saved

READ = "read"


def save(file: Path, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")


def load(source: str | Path) -> str:
    fingerprint(source)
    load_images(source, size=8)
    return READ


PLAIN = "file,label\na.png,x\nb.png,y\nc.png,x\n"
ABSENT = r".*line 2: .* does not exist, or is no file"
TABLES: dict[str, tuple[str | bytes, str]] = {
    "a usual one": (PLAIN, READ),
    "rows given twice": (PLAIN + "a.png,x\n" * 9, READ),
    "marks of Windows": (b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(), READ),
    "a path that escapes": ("file\n../../../../../../etc/passwd\n", ".*: not a picture.*too few.*"),
    "an absolute path": ("file\n/etc/passwd\n", ".*/etc/passwd: not a picture.*"),
    "a device": ("file\n/dev/zero\n", ABSENT),
    "a pipe": ("file\npipe.png\n", ABSENT),
    "a folder": ("file\n.\n", ABSENT),
    "no such file": ("file\nnone.png\n", ABSENT),
    "a name that is too long": ("file\n" + "x" * 5000 + "\n", ABSENT),
    "a path that is too long": ("file\n" + "x/" * 50_000 + "\n", ABSENT),
    "NUL": ("file\na\0.png\n", ".*"),
    "an escape": ("file\n\x1b[31m.png\n", ABSENT),
    "an address": ("file\nhttps://example.org/a.png\n", ABSENT),
    "no header": ("a.png,x\nb.png,y\n", ".*has the columns a.png, x; one of them must be called.*"),
    "no rows": ("file,label\n", ".*names no pictures"),
    "nothing": ("", ".*table.csv is empty"),
    "an open quote": ('file,label\n"a.png,x\nb.png,y\n', ".*does not exist, or is no file"),
    "a long open quote": ('file\n"' + "a.png\n" * 100_000, ".*field larger than field limit.*"),
    "a field without end": ("file\n" + "x" * 2_000_000, ".*field larger than field limit.*"),
    "a header without end": ("x" * 2_000_000, ".*field larger than field limit.*"),
    "many columns": ("x," * 200_000 + "\n", ".*has the columns x, x, .*, ...; one of them.*"),
    "many columns, one of files": ("file," * 100_000 + "\n" + "a.png," * 100_000 + "\n", READ),
    "UTF-16": (PLAIN.encode("utf-16"), ".*cannot be read as CSV.*codec can't decode.*"),
    "Latin": ("file\né.png\n".encode("latin-1"), ".*cannot be read as CSV.*"),
    "bytes": (bytes(range(256)) * 99, ".*cannot be read as CSV.*"),
    "a label missing": ("file,label\na.png,x\nb.png,\n", ".*line 3: .* has no label.*"),
    "numbers": ("file,label\na.png,7\nb.png,007\nc.png,٣\n", READ),
    "a number without end": ("file,label\na.png,1\nb.png," + "9" * 6000 + "\n", READ),
    "labels of all sorts": (
        "file,label\na.png,=1+2\nb.png,\x1b[31m\nc.png,<script>\nd.png,\u202ex\ne.png,-1\n",
        READ,
    ),
    "superscripts": ("file,label\na.png,²\nb.png,1\n", READ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_hostile_table(kind: str, tmp_path: Path) -> None:
    content, said = TABLES[kind]
    for seed, name in enumerate("abcde"):
        save(tmp_path / f"{name}.png", seed)
    os.mkfifo(tmp_path / "pipe.png")
    file = tmp_path / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = bounded(lambda: load(file))
    assert re.fullmatch(said, outcome.said, re.DOTALL)
    assert outcome.said == READ or (str(file) in outcome.said and len(outcome.said) < 1000)
    assert "\x1b" not in outcome.said and "\0" not in outcome.said
    assert outcome.seconds < 2 and outcome.megabytes < 300


def test_a_pipe_as_a_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "table.csv")
    for work in (
        lambda: load(tmp_path / "table.csv"),
        lambda: str(read_table(tmp_path / "table.csv")),
    ):
        assert "table.csv" in bounded(work).said


# Parquet and the other files of data sets


def parquet(contents: list[bytes | None], paths: dict[int, str] | None = None) -> bytes:
    """Rows of encoded pictures, or of paths to them."""
    rows = [{"bytes": c, "path": (paths or {}).get(i)} for i, c in enumerate(contents)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    table = pa.table({"image": pa.array(rows, kind)})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    file = BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def columns(image: object) -> bytes:
    """A table whose columns are not said to be pictures."""
    file = BytesIO()
    pq.write_table(pa.table({"image": image}), file)
    return file.getvalue()


GOOD = saved("PNG")
PLAIN_ROWS = parquet([GOOD] * 3)
DATA_SETS: dict[str, tuple[Callable[[], bytes], str]] = {
    "usual.parquet": (lambda: PLAIN_ROWS, READ),
    "bomb.parquet": (lambda: parquet([png(13_000, 13_000)]), ".*row 0: 169 megapixels from .*"),
    "program.parquet": (lambda: parquet([saved("EPS")]), ".*row 0: not a picture.*"),
    "text.parquet": (lambda: parquet([b"<script>"]), ".*row 0: not a picture.*"),
    "secret.parquet": (lambda: parquet([None], {0: "/etc/passwd"}), ".*row 0: not a picture.*"),
    "device.parquet": (lambda: parquet([None], {0: "/dev/zero"}), ".*row 0: it is a pipe, a dev.*"),
    "network.parquet": (
        lambda: parquet([None], {0: "https://example.org/a.png"}),
        ".*row 0: No such file or directory.*",
    ),
    "plain.parquet": (lambda: columns([GOOD] * 2), ".*has columns image, but no images in them"),
    "nested.parquet": (lambda: columns([[[GOOD]]]), ".*has columns image, but no images in them"),
    "empty.parquet": (lambda: b"", ".*could not provide .*: Parquet file size is 0 bytes"),
    "cut.parquet": (lambda: PLAIN_ROWS[:-99], ".*could not provide .*magic bytes not found.*"),
    "footer.parquet": (
        lambda: PLAIN_ROWS[:-8] + b"\xff\xff\xff\x7fPAR1",
        ".*could not provide .*smaller than the size reported.*",
    ),
    "thrift.parquet": (
        lambda: PLAIN_ROWS[:-200] + b"\xff" * 192 + PLAIN_ROWS[-8:],
        ".*could not provide .*Couldn't deserialize thrift.*",
    ),
    "nonsense.arrow": (lambda: b"nonsense" * 9, ".*could not provide .*"),
    "program.py": (lambda: b"open('ran', 'w')", ".*could not provide .*"),
    "pickle.pkl": (lambda: b"cposix\nsystem\n(S'touch ran'\ntR.", ".*could not provide .*"),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_hostile_data_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, said = DATA_SETS[name]
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(make())
    before = peak()
    try:
        answer = load(f"hf:{name}")
    except DecoctError as error:
        answer = str(error)
    assert re.fullmatch(said, answer, re.DOTALL) and len(answer) < 800
    assert peak() - before < 300e6
    assert not Path("ran").exists()


def test_no_script_of_a_data_set_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    Path("flowers").mkdir()
    Path("flowers/flowers.py").write_text("open('ran', 'w')")
    for source in ("hf:flowers", "hf:./flowers", "hf:flowers/flowers.py"):
        with pytest.raises(DecoctError, match="scripts are no longer supported"):
            load(source)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "a\x1b[31m/b",
        "a/b\n",
        "",
        " ",
        "a\0b",
        "x" * 5000,
        ":@#",
        "a/b@../../x",
        "a/b:../c",
    ],
)
def test_a_hostile_name_of_a_data_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DecoctError) as refused:
        load(f"hf:{name}")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 800
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../b", "a/b/c", "a/b@", "a/b@../../x", "a/b@/x", "a/b@\n", "a/b@x\x1b", "a\0/b"],
)
def test_a_hostile_name_of_a_set_on_the_hub(name: str) -> None:
    with pytest.raises(DecoctError, match="is no name of a data set on the hub"):
        repository(name)


def test_a_data_set_on_this_machine_counts_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "set" / "train" / "a.png")
    first, part = fingerprint("hf:./set"), fingerprint("hf:./set@train")
    assert first != part
    assert fingerprint(f"hf:{tmp_path / 'set'}") == first
    save(tmp_path / "set" / "train" / "a.png", seed=1)
    assert fingerprint("hf:./set") != first and fingerprint("hf:./set@train") != part
    (tmp_path / "set" / "cache-1.arrow").write_bytes(b"of datasets")
    second = fingerprint("hf:./set")
    save(tmp_path / "set" / "train" / "b.png")
    assert fingerprint("hf:./set") != second
    assert fingerprint("hf:ana/flowers") == storage.digest("hf:ana/flowers", [])
