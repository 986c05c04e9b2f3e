"""Whether a self-supervised teacher can be had is found out quickly, online or not."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from decoct.training.best_teacher import AvailableTeacher, best_teacher

DINO_V3 = "timm/vit_small_patch16_dinov3.lvd1689m"
DINO_V2 = "timm/vit_small_patch14_dinov2.lvd142m"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def snapshot(cache: Path, repository: str) -> Path:
    """The folder of a repository's files, as the hub's library lays it out."""
    folder, revision = cache / f"models--{repository.replace('/', '--')}", "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots" / revision).mkdir(parents=True)
    return folder / "snapshots" / revision


def test_cached_weights_are_found(cache: Path) -> None:
    (snapshot(cache, DINO_V2) / "model.safetensors").write_bytes(b"")
    found, why = best_teacher()
    assert found == AvailableTeacher(
        source="timm:vit_small_patch14_dinov2.lvd142m",
        title="DINOv2 small",
        licence="Apache-2.0",
        size=224,
        cached=True,
    )
    assert not why


def test_the_better_one_comes_first_and_says_its_licence(cache: Path) -> None:
    for repository in (DINO_V2, DINO_V3):
        (snapshot(cache, repository) / "model.safetensors").write_bytes(b"")
    found, _ = best_teacher()
    assert found is not None
    assert found.source == "timm:vit_small_patch16_dinov3.lvd1689m"
    assert "DINOv3 License of Meta" in found.licence


@pytest.mark.usefixtures("cache")
def test_what_the_hub_offers_is_yet_to_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.get_hf_file_metadata", lambda url, timeout: asked.append(url)
    )
    found, _ = best_teacher()
    assert found is not None and not found.cached
    assert DINO_V3 in asked[0]


@pytest.mark.usefixtures("cache")
def test_offline_there_is_none_and_it_says_why() -> None:
    found, why = best_teacher()
    assert found is None
    assert "DINOv3 small and DINOv2 small are not in the cache" in why
    assert "offline mode is enabled" in why


@pytest.mark.usefixtures("cache")
def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def stall(url: str, timeout: float) -> None:
        time.sleep(30)

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", stall)
    before = time.monotonic()
    found, why = best_teacher(timeout_s=0.2)
    assert found is None
    assert "does not answer within 0.1 seconds" in why
    assert time.monotonic() - before < 10


def test_without_timm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    found, why = best_teacher()
    assert found is None
    assert "decoct[timm]" in why


def test_an_older_timm_has_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def none(pattern: str) -> list[Any]:
        return []

    monkeypatch.setattr(timm, "list_pretrained", none)
    assert "neither DINOv3 nor DINOv2" in best_teacher()[1]
