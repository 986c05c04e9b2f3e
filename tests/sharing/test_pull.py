"""`decoct pull` and `hf:` names: from the hub, from the cache, and refused."""

from pathlib import Path

import pytest
import torch

from decoct.artefacts.distilled import DistilledSet, load_distilled
from decoct.cli import main
from decoct.core.errors import DecoctError
from tests.sharing.conftest import Hub

Shared = tuple[DistilledSet, Path]
COMMIT = 40 * "a"


@pytest.fixture
def pushed(shared: Shared, local_hub: Hub) -> Hub:
    """The hub with the set on it."""
    local_hub.private = False
    local_hub.files = {"distilled.safetensors": shared[1].read_bytes(), "README.md": b"# Flowers"}
    return local_hub


def test_a_set_is_pulled(
    shared: Shared,
    pushed: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["pull", "ana/flowers"]) == 0
    out = capsys.readouterr().out
    assert "distilled set by mkdt, 5 images" in out and "'flowers.safetensors'" in out
    assert torch.equal(load_distilled("flowers.safetensors").images, shared[0].images)
    assert main(["pull", "ana/flowers"]) == 2
    assert "flowers.safetensors already exists" in capsys.readouterr().err
    assert main(["pull", "hf:ana/flowers@main", "--out", "b.safetensors"]) == 0
    assert Path("b.safetensors").read_bytes() == shared[1].read_bytes()


def test_it_is_downloaded_once_and_then_needs_no_network(
    shared: Shared, pushed: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert torch.equal(load_distilled("hf:ana/flowers").images, shared[0].images)
    assert sum(line.startswith("GET /datasets") for line in pushed.asked) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert torch.equal(load_distilled("hf:ana/flowers").images, shared[0].images)


def test_a_revision_in_the_cache(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid out as `huggingface_hub` lays it out."""
    repo = tmp_path / "cache" / "datasets--ana--flowers"
    for folder in (repo / "refs", repo / "snapshots" / COMMIT):
        folder.mkdir(parents=True)
    (repo / "refs" / "v1").write_text(COMMIT)
    (repo / "snapshots" / COMMIT / "distilled.safetensors").write_bytes(shared[1].read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for revision in ("v1", COMMIT):
        found = load_distilled(f"hf:ana/flowers@{revision}")
        assert torch.equal(found.images, shared[0].images)
    with pytest.raises(DecoctError, match="cannot be reached, and ana/flowers was not downloaded"):
        load_distilled("hf:ana/flowers@v2")


def test_what_is_damaged_on_the_way_is_not_kept(pushed: Hub, tmp_path: Path) -> None:
    pushed.files["distilled.safetensors"] = pushed.files["distilled.safetensors"][:-8]
    with pytest.raises(DecoctError, match="damaged"):
        load_distilled("hf:ana/flowers")
    assert main(["pull", "ana/flowers", "--out", str(tmp_path / "a.safetensors")]) == 2
    assert not (tmp_path / "a.safetensors").exists()


def test_what_the_hub_does_not_have(pushed: Hub) -> None:
    with pytest.raises(DecoctError, match=r"the hub has no data set ana/trees.*hf auth login"):
        load_distilled("hf:ana/trees")
    del pushed.files["distilled.safetensors"]
    with pytest.raises(DecoctError, match=r"holds no distilled.safetensors.* --images\.source"):
        load_distilled("hf:ana/flowers")
    with pytest.raises(DecoctError, match="OWNER/NAME"):
        load_distilled("hf:flowers")
