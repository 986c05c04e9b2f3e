"""The page "Other trainers" is run, with smaller networks and fewer steps."""

import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from decoct.artefacts.assistant import Assistant
from decoct.artefacts.rule import TrainingRule
from decoct.core import seeding
from decoct.data.images import Images
from decoct.methods.carried import carried_set
from decoct.models.registry import NetworkConfig, create_network

PAGE = Path(__file__).parents[2] / "docs" / "other-trainers.md"
SMALLER = {
    '"resnet18"': '"test_resnet"',
    'by("adamw"), 100': 'by("adamw"), 8',
    "warmup_epochs=5": "warmup_epochs=2",
    "hidden_size=192": "hidden_size=16",
    "num_hidden_layers=6": "num_hidden_layers=1",
    "num_attention_heads=3": "num_attention_heads=2",
    "intermediate_size=768": "intermediate_size=32",
    "max_steps=480": "max_steps=24",
    'report_to="none"': 'report_to="none", disable_tqdm=True, logging_steps=4',
}


@pytest.fixture(autouse=True)
def saved(tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that carries its labeller, where the page looks for it."""
    config = NetworkConfig(width=4, depth=2)
    with seeding.seeded(0, "test"):
        network = create_network(config, channels=3, size=16, outputs=6).eval()
    mean, std = tiny_images.mean, tiny_images.std
    labeller = Assistant(network, config, size=16, mean=mean, std=std, outputs=6)
    rule = TrainingRule(batch=8)
    found = carried_set(images=tiny_images, index=torch.arange(12), labeller=labeller, rule=rule)
    found.save(tmp_path / "distilled.safetensors")
    monkeypatch.chdir(tmp_path)


def run(block: int) -> dict[str, Any]:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)[block]
    for large, small in SMALLER.items():
        code = code.replace(large, small)
    names: dict[str, Any] = {"__name__": "page"}
    exec(code, names)
    return names


def test_the_page_has_what_is_made_smaller() -> None:
    assert [large for large in SMALLER if large not in PAGE.read_text("utf-8")] == []


def test_timms_training_script(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(0)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == names["epochs"] and losses[-1] < 0.8 * losses[0]
    assert names["optimizer"].param_groups[0]["lr"] < 0.1 * names["rule"].lr  # came down
    features = names["network"].eval()(names["images"])
    assert features.shape == (len(names["images"]), names["network"].num_features)
    weights = safetensors.torch.load_file("encoder.safetensors")
    assert weights.keys() == names["network"].state_dict().keys()


@pytest.mark.filterwarnings("ignore:'pin_memory':UserWarning")
def test_transformers_trainer() -> None:
    names = run(1)
    logged = [entry["loss"] for entry in names["trainer"].state.log_history if "loss" in entry]
    assert len(logged) == 6 and logged[-1] < 0.8 * logged[0]
    from transformers import ViTModel

    encoder = ViTModel.from_pretrained("encoder").eval()
    images, _ = names["distilled"].read(torch.arange(3))
    assert encoder(images).last_hidden_state.shape == (3, 17, 16)
