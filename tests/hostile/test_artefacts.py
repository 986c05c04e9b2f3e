"""Files that somebody made to do harm: each is refused in a sentence, at once, in little memory.

A right digest is no protection: whoever writes a file can compute it.
"""

import json
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.artefacts.encoder import Encoder
from decoct.cli import main
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.models import timm_network
from decoct.report.readers import READERS
from tests.hostile.bounded import MEGABYTES, bounded, refusal
from tests.hostile.made import raw, rewrite, write_all

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of every kind, by name. Read-only."""
    return write_all(tmp_path_factory.mktemp("whole"))


def kind_of(path: Path) -> str:
    return str(storage.read_header(path)["kind"])


def read(path: Path) -> object:
    return READERS[kind_of(path)](path)


def assert_refused(path: Path, action: Callable[[], object], words: str = "") -> None:
    said = refusal(action)
    assert str(path) in said and words in said


def test_there_is_a_file_of_every_kind(files: dict[str, Path]) -> None:
    large = {"variance", "findings"}  # these are described in tests/studies/variance
    assert {kind_of(path) for path in files.values()} == set(READERS) - large - {"pool-error"}
    for path in files.values():
        read(path)


# Headers

GOOD = {"kind": "targets", "version": 3, "digest": "0", "meta": {}}
ONE = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
DEEP = "[" * 100_000


def header(said: object = GOOD, **entries: Any) -> dict[str, Any]:
    text = said if isinstance(said, str) else json.dumps(said, sort_keys=True)
    return {"__metadata__": {"decoct": text}, **entries}


def entry(dtype: Any = "F32", shape: Any = (1,), at: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": at}


RAW: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "seven bytes": lambda path: path.write_bytes(b"\x10" + 6 * b"\0"),
    "a header of 0 bytes": partial(raw, header=b""),
    "a header of 1 byte": partial(raw, header=b"{"),
    "a header of 2^63 bytes": partial(raw, header=header(), length=2**63),
    "a header of 2^64 - 1 bytes": partial(raw, header=header(), length=2**64 - 1),
    "a header longer than the file": partial(raw, header=header(), length=10_000),
    "a header of 100 MB, it says": partial(raw, header=header(), length=100_000_001),
    "a list": partial(raw, header=b"[]"),
    "null": partial(raw, header=b"null"),
    "no UTF-8": partial(raw, header=b'{"\xff": 1}'),
    "nested without end": partial(raw, header=b'{"a": ' + DEEP.encode()),
    "the same name twice": partial(
        raw, header=b'{"a":%b,"a":%b}' % (2 * (json.dumps(ONE["a"]).encode(),)), data=4 * b"\0"
    ),
    "tensors that overlap": partial(
        raw, header=header(a=entry(), b=entry(at=(2, 6))), data=6 * b"\0"
    ),
    "tensors at the same place": partial(raw, header=header(a=entry(), b=entry()), data=4 * b"\0"),
    "a gap": partial(raw, header=header(a=entry(), b=entry(at=(8, 12))), data=12 * b"\0"),
    "bytes after the last tensor": partial(raw, header=header(a=entry()), data=5 * b"\0"),
    "negative offsets": partial(raw, header=header(a=entry(at=(-4, 0))), data=4 * b"\0"),
    "an end before the beginning": partial(raw, header=header(a=entry(at=(4, 0))), data=4 * b"\0"),
    "an end beyond the file": partial(raw, header=header(a=entry(at=(0, 2**40)))),
    "offsets that are words": partial(raw, header=header(a=entry(at=("0", "4"))), data=4 * b"\0"),
    "a huge shape": partial(raw, header=header(a=entry(shape=(2**62, 4))), data=4 * b"\0"),
    "a shape that overflows to 0": partial(
        raw, header=header(a=entry(shape=(2**63, 2), at=(0, 0)))
    ),
    "a negative length": partial(raw, header=header(a=entry(shape=(-1,))), data=4 * b"\0"),
    "a shape of other bytes": partial(raw, header=header(a=entry(shape=(2,))), data=4 * b"\0"),
    "an unknown dtype": partial(raw, header=header(a=entry("F33")), data=4 * b"\0"),
    "a dtype that is a list": partial(raw, header=header(a=entry(["F32"])), data=4 * b"\0"),
    "numbers of 4 bits": partial(raw, header=header(a=entry("F4", (8,))), data=4 * b"\0"),
    "metadata that are a list": partial(raw, header={"__metadata__": [], **ONE}, data=4 * b"\0"),
    "metadata that are numbers": partial(raw, header={"__metadata__": {"decoct": 1}}),
    "no metadata": partial(raw, header=ONE, data=4 * b"\0"),
    "not of decoct": partial(raw, header={"__metadata__": {"format": "pt"}, **ONE}, data=4 * b"\0"),
    "our header is no JSON": partial(raw, header=header("{")),
    "our header is a list": partial(raw, header=header([])),
    "our header is nested without end": partial(raw, header=header(DEEP)),
    "our meta are nested without end": partial(
        raw, header=header(json.dumps(GOOD).replace("{}", DEEP[:900] + "]" * 900))
    ),
    "our meta are a list": partial(raw, header=header(GOOD | {"meta": []})),
    "a number of 5,000 digits": partial(
        raw, header=header(json.dumps(GOOD).replace("{}", '{"a": ' + 5000 * "9" + "}"))
    ),
    "a number of 5,000 digits as the version": partial(
        raw, header=header(json.dumps(GOOD).replace("3", 5000 * "9"))
    ),
    "a kind that is a list": partial(raw, header=header(GOOD | {"kind": ["targets"]})),
    "a kind of a million letters": partial(raw, header=header(GOOD | {"kind": 10**6 * "x"})),
    "a version that is true": partial(raw, header=header(GOOD | {"version": True})),
    "a version that is a list": partial(raw, header=header(GOOD | {"version": [3]})),
    "a version of later": partial(raw, header=header(GOOD | {"version": 10**9})),
    "no digest": partial(raw, header=header({k: v for k, v in GOOD.items() if k != "digest"})),
    "a digest that is null": partial(raw, header=header(GOOD | {"digest": None})),
    "a digest that is a list": partial(raw, header=header(GOOD | {"digest": ["0"]})),
    "a digest of something else": partial(raw, header=header(**ONE), data=4 * b"\0"),
    "our header with other blanks": partial(raw, header=header(json.dumps(GOOD, indent=1))),
    "our header in another order": partial(raw, header=header(json.dumps(GOOD))),
}


@pytest.mark.parametrize("name", RAW)
def test_a_header(tmp_path: Path, name: str) -> None:
    path = tmp_path / "targets.safetensors"
    RAW[name](path)
    assert_refused(path, lambda: READERS["targets"](path))


JSON: dict[str, bytes] = {
    "empty": b"",
    "no UTF-8": b"\xff\xfe",
    "null": b"null",
    "a list": b"[]",
    "nested without end": DEEP.encode(),
    "a digest that is absent": b'{"kind": "scores", "version": 3, "meta": {}}',
    "a number of 5,000 digits": b'{"kind": ' + 5000 * b"9" + b"}",
}


@pytest.mark.parametrize("name", JSON)
def test_json(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scores.json"
    path.write_bytes(JSON[name])
    assert_refused(path, lambda: READERS["scores"](path))


# Contents, with a right digest


OTHERS = (None, [], {}, "x", "", 10**30, -1, float("nan"), True, [[[[{}]]]], {"a": [1]})


def _changed(content: Any) -> list[Any]:
    """JSON with each value in turn left out, and replaced by others."""
    found: list[Any] = []
    if isinstance(content, dict):
        for key, value in content.items():
            found.append({k: v for k, v in content.items() if k != key})
            found += [{**content, key: other} for other in (*OTHERS, *_changed(value))]
        found.append({**content, "unheard of": 1})
    elif isinstance(content, list) and content:
        others = (*OTHERS, *_changed(content[0]))
        found += [[other, *content[1:]] for other in others]
    return found


def _some(changed: list[Any]) -> list[Any]:
    """All would take a minute."""
    return random.Random(0).sample(changed, min(TRIED, len(changed)))


TRIED = 25
TENSOR_FILES = "images encoder assistant targets plain coded noise expert difficulty features"
JSON_FILES = (
    "scores label-free ablation fit frontier tuning probe finetuned target-probe plan run seconds"
)


def assert_only_sentences(path: Path) -> bool:
    """Whether a file is refused; any error but a sentence that names it fails the test."""
    try:
        read(path)
    except DecoctError as error:
        assert str(path) in str(error)
        return True
    return False


@pytest.mark.parametrize("name", TENSOR_FILES.split())
def test_every_tensor_is_needed_as_it_is(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    tensors, meta = storage.load_tensors(files[name], kind=kind_of(files[name]))
    path = tmp_path / files[name].name
    for key, tensor in tensors.items():
        changes: dict[str, Tensor | None] = {
            "missing": None,
            "another type": tensor.to(torch.int16),
            "a flag": tensor.bool(),
            "one more axis": tensor.unsqueeze(0),
            "no axes": torch.zeros((), dtype=tensor.dtype),
        }
        if tensor.dim():
            changes["longer"] = torch.cat([tensor, tensor[:1]])
            changes["nothing"] = tensor[:0]
        if tensor.is_floating_point() and tensor.numel():
            changes["not a number"] = torch.full_like(tensor, float("nan"))
        for change, value in changes.items():
            altered = {k: v for k, v in tensors.items() if k != key}
            if value is not None:
                altered[key] = value
            rewrite(path, altered, meta, kind_of(files[name]))
            free = (key, change) in FREE or (name, key, change) in FREE
            assert assert_only_sentences(path) != free, (key, change)
    rewrite(path, {**tensors, "unheard of": torch.zeros(1)}, meta, kind_of(files[name]))
    assert assert_only_sentences(path)


# What a file may lack or have more of
FREE: set[tuple[str, ...]] = {
    ("labels", "missing"),
    ("index", "missing"),
    ("history.loss", "missing"),
    ("history.loss", "longer"),
    ("history.loss", "nothing"),
    ("difficulty", "longer"),
    ("difficulty", "nothing"),
    ("features", "features", "missing"),
    ("values", "longer"),
    ("values", "nothing"),
    ("coded", "initial", "missing"),
    ("images:stream", "longer"),
}


@pytest.mark.parametrize("name", TENSOR_FILES.split())
def test_meta_of_other_types(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    kind = kind_of(files[name])
    tensors, meta = storage.load_tensors(files[name], kind=kind)
    path = tmp_path / files[name].name
    refused = 0
    for altered in _some(_changed(meta)):
        rewrite(path, tensors, altered, kind)
        refused += assert_only_sentences(path)
    assert refused or not meta


@pytest.mark.parametrize("name", JSON_FILES.split())
def test_json_of_other_types(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    kind = kind_of(files[name])
    path, refused = tmp_path / files[name].name, 0
    for altered in _some(_changed(storage.load_json(files[name], kind=kind))):
        storage.save_json(path, altered, kind=kind)
        refused += assert_only_sentences(path)
    assert refused


def numbers(*values: int) -> Tensor:
    return torch.tensor(values)


def _meta(**changes: Any) -> Callable[[Tensors, dict[str, Any]], None]:
    def change(tensors: Tensors, meta: dict[str, Any]) -> None:
        for name, value in changes.items():
            place, _, last = f"meta.{name}".rpartition(".")
            at: Any = {"meta": meta}
            for part in place.split("."):
                at = at[part]
            at[last] = value

    return change


def _tensors(**changes: Tensor) -> Callable[[Tensors, dict[str, Any]], None]:
    def change(tensors: Tensors, meta: dict[str, Any]) -> None:
        tensors |= changes

    return change


def _network(**config: Any) -> Callable[[Tensors, dict[str, Any]], None]:
    return _meta(config={"name": "convnet", "width": 2, "depth": 1} | config)


def _coded(part: str, code: str, **parts: Tensor) -> Callable[[Tensors, dict[str, Any]], None]:
    """Replace images or targets by a code of them."""

    def change(tensors: Tensors, meta: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith((f"{part}.", f"{part}:"))]:
            del tensors[name]
        tensors.pop(part, None)
        tensors |= {f"{part}:{name}": tensor for name, tensor in parts.items()}
        meta["codes"] = {**meta["codes"], part: code}

    return change


def _factored_targets(count: int, dimensions: int) -> Tensors:
    return {
        "bases": torch.zeros(1, dimensions),
        "coefficients": torch.zeros(count, 1),
        "weights_in": torch.zeros(3, 1, 1),
        "biases_in": torch.zeros(3, 1),
        "weights_out": torch.zeros(3, 1, 1),
        "biases_out": torch.zeros(3, 1),
    }


CONTENTS: dict[str, tuple[str, Callable[[Tensors, dict[str, Any]], None], str]] = {
    "a width of 10^9": ("encoder", _network(width=10**9), ""),
    "a width of 10^18": ("encoder", _network(width=10**18), ""),
    "a depth of 10^9": ("encoder", _network(depth=10**9), "at most 12"),
    "a side of 10^9": ("encoder", _meta(size=10**9), "px are not from 1 to"),
    "a side of 2^4000": ("encoder", _meta(size=2**4000), ""),
    "another network": ("encoder", _network(name="resnet10-small"), "not those of resnet10-small"),
    "no network": ("encoder", _network(name="../../etc/passwd"), "is unknown"),
    "a labeller of a width of 10^9": ("noise", _meta(**{"labeller": {}}), ""),
    "outputs of 10^12": ("assistant", _meta(outputs=10**12), ""),
    "an expert of a network that is none": (
        "expert",
        _meta(config={"network": {"name": "x"}}),
        "is unknown",
    ),
    "10^9 pictures from a seed": (
        "noise",
        _coded("images", "blobs", numbers=numbers(10**9, 3, 8, 8, 0)),
        "would be decoded to 192,000,000,000 numbers",
    ),
    "pictures of 10^6 pixels' side from a seed": (
        "noise",
        _coded("images", "generator", numbers=numbers(1, 3, 10**6, 10**6, 0)),
        "would be decoded to",
    ),
    "fewer than no pictures from a seed": (
        "noise",
        _coded("images", "dead-leaves", numbers=numbers(-3, 3, 8, 8, 0)),
        "would be decoded to -1 numbers",
    ),
    "a WebP of 10^9 pictures": (
        "coded",
        _tensors(**{"images:shape": numbers(10**9, 3, 8, 8)}),
        "would be decoded to",
    ),
    "a WebP of other pictures": (
        "coded",
        _tensors(**{"images:shape": numbers(3, 3, 4, 4)}),
        "cannot hold its images",
    ),
    "a WebP that is none": (
        "coded",
        _tensors(**{"images:stream": torch.zeros(99, dtype=torch.uint8)}),
        "cannot be decoded",
    ),
    "principal components of a large matrix": (
        "plain",
        _coded(
            "targets",
            "pca",
            scores=torch.zeros(10**5, 1, dtype=torch.int8),
            scale=torch.ones(1),
            directions=torch.zeros(10**5, 1).half(),
            mean=torch.zeros(10**5),
            shape=numbers(10**5, 10**5),
        ),
        "would be decoded to 10,000,000,000 numbers",
    ),
    "int8 with a scale for more": (
        "plain",
        _coded(
            "targets",
            "int8",
            values=torch.zeros(10**5, 1, dtype=torch.int8),
            scale=torch.ones(1, 10**5),
        ),
        "would be decoded to",
    ),
    "words that are in no book": (
        "plain",
        _coded(
            "targets",
            "pq",
            books=torch.zeros(1, 2, 4).half(),
            words=torch.full((3, 1), 255, dtype=torch.uint8),
            shape=numbers(3, 4),
        ),
        "out of bounds",
    ),
    "factored images of 10^6 pixels' side": (
        "plain",
        _coded(
            "images",
            "factored-images",
            bases=torch.zeros(1, 3, 2, 2),
            coefficients=torch.zeros(3, 1),
            size=torch.tensor(10**6, dtype=torch.int32),
        ),
        "would be decoded to",
    ),
    "factored targets of a large matrix": (
        "plain",
        _coded("targets", "factored-targets", **_factored_targets(10**5, 10**5)),
        "would be decoded to",
    ),
    "an unknown code": ("plain", _coded("targets", "x", a=numbers(1)), "which this version does"),
    "a range of more channels": (
        "plain",
        _tensors(**{"images.range": torch.zeros(2, 10**6)}),
        "they must be float 2 C",
    ),
    "an index before the first image": (
        "plain",
        _tensors(index=numbers(0, -1, 2)),
        "images before the first",
    ),
    "neither targets nor objective": (
        "plain",
        _tensors(targets=torch.zeros(3, 0)),
        "neither targets nor an objective",
    ),
    "a labeller of other images": (
        "noise",
        _coded("images", "blobs", numbers=numbers(3, 3, 16, 16, 0)),
        "another size",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_contents(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    base, change, words = CONTENTS[name]
    kind = kind_of(files[base])
    tensors, meta = storage.load_tensors(files[base], kind=kind)
    change(tensors, meta)
    path = tmp_path / "hostile.safetensors"
    rewrite(path, tensors, meta, kind)
    assert_refused(path, lambda: read(path), words)


@pytest.mark.parametrize("network", ["hf-hub:ana/net", "local-dir:/etc", "hf_hub:x", "x:y"])
def test_a_file_makes_nobody_look_elsewhere(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    """Not on the disk and not in the network, unless the user says so."""
    asked = []
    monkeypatch.setattr(timm_network, "_made", lambda name, *_, **__: asked.append(name))
    tensors, meta = storage.load_tensors(files["encoder"], kind="encoder")
    meta["config"]["name"] = f"timm:{network}"
    rewrite(tmp_path / "e.safetensors", tensors, meta, "encoder")
    with pytest.raises(DecoctError, match="would be read from elsewhere"):
        Encoder.load(tmp_path / "e.safetensors")
    tensors, meta = storage.load_tensors(files["noise"], kind="distilled")
    meta["labeller"]["config"]["name"] = f"timm:{network}"
    rewrite(tmp_path / "d.safetensors", tensors, meta, "distilled")
    with pytest.raises(DecoctError, match="would be read from elsewhere"):
        load_distilled(tmp_path / "d.safetensors")
    assert not asked


def test_a_large_network_of_timms_takes_no_memory(files: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("timm")
    tensors, meta = storage.load_tensors(files["encoder"], kind="encoder")
    meta |= {"config": {"name": "timm:vgg19"}, "size": 224}  # 574 MB
    path = tmp_path / "e.safetensors"
    rewrite(path, tensors, meta, "encoder")
    found = bounded(lambda: Encoder.load(path))  # to import timm takes seconds
    assert found.refused and f"{path}: its weights are not those of timm:vgg19" in found.said
    assert found.megabytes < MEGABYTES


def test_nothing_of_a_run_lies_outside_it(tmp_path: Path) -> None:
    content = {"stages": {"images": "../../victim"}, "seconds": {}}
    storage.save_json(tmp_path / "run.json", content, kind="run")
    with pytest.raises(DecoctError, match=r"'\.\./\.\./victim' is no folder of a stage"):
        READERS["run"](tmp_path / "run.json")


def test_from_the_command_line(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, exit status 2, and nothing else is written."""
    tensors, meta = storage.load_tensors(files["plain"], kind="distilled")
    for case in ("provenance", "network", "rule"):
        path = tmp_path / f"{case}.safetensors"
        rewrite(path, tensors, meta | {case: [case]}, "distilled")
        for verb in ("show", "export"):
            more = ["--out", str(tmp_path / "out")] if verb == "export" else []
            assert main([verb, str(path), *more]) == 2
            said = capsys.readouterr()
            assert not said.out and said.err.startswith("decoct: ") and path.name in said.err
            assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 3


# Bytes that changed


def test_no_change_of_a_byte_is_silent(files: dict[str, Path], tmp_path: Path) -> None:
    """A few bytes of every kind of file; `benchmarks/flips.py` changes them all."""
    draws = random.Random(0)
    for name, whole in files.items():
        kind, content = kind_of(whole), bytearray(whole.read_bytes())
        path = tmp_path / whole.name
        for place in [*draws.choices(range(len(content)), k=20), 0, 8, len(content) - 1]:
            altered = content.copy()
            altered[place] ^= draws.randint(1, 255)
            path.write_bytes(altered)
            assert not storage.is_valid(path, kind=kind), f"{name}: byte {place}"


def test_no_other_way_to_write_the_same_is_taken(files: dict[str, Path], tmp_path: Path) -> None:
    """White space, the ends of lines, digits that change no number, the number of the version."""
    text = files["probe"].read_bytes()
    others = {
        "line ends": text.replace(b"\n", b"\r\n"),
        "a tab": text.replace(b" ", b"\t", 1),
        "no last line end": text[:-1],
        "one more": text + b"\n",
        "more digits": text.replace(b"40.0", b"40.00000000000000000001"),
        "an earlier version": text.replace(b'"version": 3', b'"version": 2'),
        "twice the same key": text.replace(b'"version": 3', b'"version": 3,\n "version": 3'),
    }
    for name, other in others.items():
        assert other != text, name
        (tmp_path / "probe.json").write_bytes(other)
        assert not storage.is_valid(tmp_path / "probe.json", kind="probe"), name
    content = files["plain"].read_bytes()
    length = int.from_bytes(content[:8], sys.byteorder)
    padded = content[8 : 8 + length]
    assert padded.endswith(b" ")
    path = tmp_path / "plain.safetensors"
    for blank in (b"\t", b"\n", b"\r"):
        path.write_bytes(content[:8] + padded[:-1] + blank + content[8 + length :])
        assert not storage.is_valid(path, kind="distilled")
    path.write_bytes(content)
    assert torch.equal(DistilledSet.load(path).targets, DistilledSet.load(files["plain"]).targets)
