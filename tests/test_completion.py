"""Completion in a real bash; zsh reads the same script, and fish's is checked for its words."""

import shutil
import subprocess
from pathlib import Path

import pytest

from decoct.commands import VERBS
from decoct.completion import completion_script
from decoct.core.errors import DecoctError

COMPLETE = """
COMP_WORDS=({words} "{last}")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_decoct
printf '%s\\n' "${{COMPREPLY[@]}}"
echo --
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "demo-mine.yaml").touch()
    (tmp_path / "demo.txt").touch()
    (tmp_path / "my photos").mkdir()
    asked = [
        ("decoct", "dem"),
        ("decoct", "co"),
        ("decoct run", "demo"),
        ("decoct stage", "train-a"),
        ("decoct stage probe", "cifar10-2"),
        ("decoct run demo", "--teacher.ssl.ep"),
        ("decoct run demo", "--krr-st.net"),
        ("decoct run demo", "--job"),
        ("decoct run demo --help", "tea"),
        ("decoct report", "my"),
        ("decoct help", "sh"),
    ]
    calls = "".join(COMPLETE.format(words=words, last=last) for words, last in asked)
    script = f"{completion_script('bash')}\n{calls}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert [answer.split("\n")[:-1] for answer in done.stdout.split("--\n")[:-1]] == [
        ["demo"],
        ["compare", "completion"],
        ["demo", "demo-mine.yaml"],
        ["train-assistant"],
        ["cifar10-2pct"],
        ["--teacher.ssl.epochs"],
        [
            *(f"--krr-st.network-{x}" for x in ("lr", "momentum", "weight-decay")),
            *(f"--krr-st.network.{x}" for x in ("depth", "name", "width")),
        ],
        ["--jobs"],
        ["teacher"],
        ["my photos"],
        ["show"],
    ]


def test_other_shells() -> None:
    assert completion_script("zsh").endswith(completion_script("bash"))
    fish = completion_script("fish")
    assert all(verb in fish.split('"')[1].split() for verb in VERBS)
    assert "@" not in fish
    with pytest.raises(DecoctError, match="choose bash, zsh or fish"):
        completion_script("tcsh")
