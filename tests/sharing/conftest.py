"""A Hugging Face hub on this machine, and sets to share."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.rule import TrainingRule
from decoct.core import seeding
from decoct.data.images import Images
from decoct.methods.carried import carried_set
from decoct.methods.views import Views, stored_views
from decoct.models.registry import NetworkConfig, create_network

CHOSEN = torch.tensor([7, 3, 30, 12, 25])
RULE = TrainingRule(lr=0.05, momentum=0.0, weight_decay=0.0, batch=2)
POOL = "/home/ana/[my] <b>photos"
ADDRESS = "https://huggingface.co/datasets/ana/flowers"
KINDS = ["learnt", "grey", "views", "carried", "without targets"]


@pytest.fixture
def kind() -> str:
    """Which set is shared; tests name others by parametrising it."""
    return "learnt"


@pytest.fixture
def shared(kind: str, tiny_images: Images, tmp_path: Path) -> tuple[DistilledSet, Path]:
    """A set of five images from a pool of somebody's, and its file."""
    pixels = tiny_images.pixels
    pool = Images.from_array(pixels[:, :1] if kind == "grey" else pixels, name=POOL)
    found = _made(kind, pool)
    found.save(tmp_path / "distilled.safetensors")
    return found, tmp_path / "distilled.safetensors"


def _made(kind: str, pool: Images) -> DistilledSet:
    if kind == "views":
        config = Views(count=3, rule=RULE)

        def means(views: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return views.mean((2, 3))

        return stored_views(images=pool, index=CHOSEN, label=means, config=config)
    if kind == "carried":
        return carried_set(images=pool, index=CHOSEN, labeller=_labeller(pool), rule=RULE)
    real = pool.normalised(CHOSEN)
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    targets = noise.flatten(1)[:, : 0 if kind == "without targets" else 4]
    objective = {"algorithm": "barlow_twins", "projector": 8, "augment": {}}
    return DistilledSet(
        images=real + 0.5 * noise,
        targets=targets.contiguous(),
        mean=pool.mean,
        std=pool.std,
        initial=real,
        index=CHOSEN,
        method="mtt-ssl" if kind == "without targets" else "mkdt",
        rule=RULE,
        provenance={"images": POOL, "seed": 0, "objective": objective},
    )


def _labeller(pool: Images) -> Assistant:
    config = NetworkConfig(width=4, depth=2)
    with seeding.seeded(0, "test"):
        network = create_network(config, channels=3, size=pool.size, outputs=6).eval()
    where = {"images": POOL}
    return Assistant(
        network, config, pool.size, mean=pool.mean, std=pool.std, outputs=6, provenance=where
    )


@dataclass
class Hub:
    """What a hub on this machine keeps."""

    files: dict[str, bytes] = field(default_factory=dict)  # of the data set ana/flowers
    private: bool | None = None  # None: there is no such data set yet
    asked: list[str] = field(default_factory=list)  # method and path of every request


class _Answers(BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """A file of the data set, what it is, or who asks."""
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.path == "/api/whoami-v2":
            known = self.headers.get("authorization") == "Bearer hf_good"
            return self._say({"name": "ana"} if known else {"error": "who?"}, 200 if known else 401)
        if self.path.startswith("/api/datasets/ana/flowers"):
            return self._say({"id": "ana/flowers", "sha": 40 * "a", "private": self.hub.private})
        at, _, name = self.path.partition("/resolve/main/")
        if at != "/datasets/ana/flowers" or self.hub.private is None:
            return self._say({}, 404, {"X-Error-Code": "RepoNotFound"})
        if name not in self.hub.files:
            return self._say({}, 404, {"X-Error-Code": "EntryNotFound"})
        data = self.hub.files[name]
        tag = hashlib.sha256(data).hexdigest()
        self._answer(data, 200, {"ETag": f'"{tag}"', "X-Repo-Commit": 40 * "a"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Make the data set; say how to send each file; take the files."""
        self.hub.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/api/repos/create":
            if self.hub.private is None:
                said = json.loads(body)  # older and newer versions of huggingface_hub
                self.hub.private = said.get("private") or said.get("visibility") == "private"
            return self._say({"url": ADDRESS})
        if self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self._say({"files": [{"path": name, **modes} for name in names]})
        if self.path == "/api/validate-yaml":
            return self._say({"errors": [], "warnings": []})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self._say({"commitUrl": f"{ADDRESS}/commit/a", "commitOid": 40 * "a"})

    def _say(self, found: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(found).encode(), status, headers or {})

    def _answer(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at what was asked."""


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that `huggingface_hub` talks to, with a user who is logged in and an empty cache."""
    found = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answers, found))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    at = f"http://127.0.0.1:{server.server_port}"
    template = at + "/{repo_id}/resolve/{revision}/{filename}"
    settings = {
        "ENDPOINT": at,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", at)
    copied = "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE"  # before 1.0
    monkeypatch.setattr(copied, template, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    yield found
    server.shutdown()
    thread.join()
    server.server_close()
