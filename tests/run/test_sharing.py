"""Commands that share a run's folder divide its work, and lose nothing if one of them is killed."""

import fcntl
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from decoct import verbs
from decoct.cli import main
from decoct.core import atomic, claims
from decoct.core.claims import claim_of
from decoct.report.verify import verify
from decoct.run.folder import StageFolders, stage_claim
from decoct.run.lock import lock_folder
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe
from decoct.run.seconds import add_seconds
from decoct.training import experts
from decoct.training.experts import expert_path
from tests.run.kills import contents, parsed

ENDS_S = 60.0  # nothing takes longer
STAGE = re.compile(r"^stage \d+ of \d+: (.+)$", re.MULTILINE)


def decoct(verb: str, recipe: Path, out: Path, *, share: bool) -> str:
    """What a command says on standard error; the parser of its flags takes longer than it does."""
    said = StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stderr(said),
        redirect_stdout(StringIO()),
    ):
        patch.setattr(verbs, "parse", partial(parsed, out=out, share=share))
        patch.setattr(claims, "_POLL_S", 0.02)
        assert main([*verb.split(), str(recipe)]) == 0, said.getvalue()
    return said.getvalue()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + ENDS_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[int]:
    """A process that does this while the block runs; its number."""
    with warnings.catch_warnings():  # Python 3.12 warns of threads: none of them works
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        try:
            signal.alarm(int(ENDS_S))
            work()
        finally:
            os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def recipe(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """One method and two seeds; and four experts."""
    changed = tiny_recipe.set("experts.count", 4).set("compare.seeds", 2)
    changed = changed.set("compare.methods", ("random",))
    file = tmp_path / "shared.yaml"
    file.write_text(changed.to_yaml())
    return file


def test_what_one_that_is_killed_leaves_another_takes_over(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "run"
    verb, train = "stage train-experts", experts.ExpertTraining.expert
    decoct(verb, recipe, whole, share=False)

    def stuck(self: experts.ExpertTraining, k: int, *rest: Any) -> Any:
        """It never comes to the end of expert 2."""
        return train(self, k, *rest) if k < 2 else time.sleep(2 * ENDS_S)

    def killed() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experts.ExpertTraining, "expert", stuck)
            decoct(verb, recipe, shared, share=True)

    def begun() -> bool:
        made = list(shared.glob("experts-*/00001.safetensors"))
        return bool(made) and claim_of(expert_path(made[0].parent, 2)).exists()

    with beside(killed) as pid:
        until(begun)
        ended = list[int]()

        def end_it(text: str) -> None:
            if "waiting for 1 expert, which others are making (process" in text:
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)

        monkeypatch.setattr(claims, "note", end_it)
        said = decoct(verb, recipe, shared, share=True)
    assert ended and f"is shared with process {pid} of" in said
    assert contents(shared) == contents(whole)
    assert not [one for one in verify(shared) if one.state in ("unknown", "unfinished")]
    assert {path.name for path in shared.rglob(".*")} == {".lock"}


def test_a_comparison_is_divided(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, shared, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    decoct("compare", recipe, whole, share=False)
    get, others = Run.get, list[str]()

    def waits(self: Run, name: str) -> Any:
        """At its first encoder, for one that the other process makes."""
        if name.startswith("encoder") and not others:
            others.append(name)
            until(lambda: len(list(shared.glob("encoder-*/encoder.safetensors"))) > 0)
        return get(self, name)

    def second() -> None:
        atomic.write_text(log, decoct("compare", recipe, shared, share=True))

    with beside(second):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "get", waits)
            said = decoct("compare", recipe, shared, share=True)
        until(log.exists)
    ours, theirs = set(STAGE.findall(said)), set(STAGE.findall(log.read_text()))
    assert not ours & theirs
    assert {name for name in ours | theirs if name.startswith("probe")} == {
        "probe-random-seed0",
        "probe-random-seed1",
    }
    assert any(name.startswith("encoder") for name in theirs)
    assert contents(shared) == contents(whole)


def test_those_that_share_have_one_recipe(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one that has left the recipe may be another."""
    shared = tmp_path / "run"
    decoct("stage select", recipe, shared, share=True)
    command = ["stage", "select", str(recipe), "--out", str(shared), "--share", "--seed", "5"]

    def other() -> None:
        with lock_folder(shared, share=True):
            time.sleep(ENDS_S)

    with beside(other) as pid:
        until(lambda: len(list(shared.glob(".*.claim"))) > 0)
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"is shared with process {pid} of" in said
        assert "which has another recipe (seed: 0) than this process (seed: 5)" in said
        decoct("stage select", recipe, shared, share=True)
    assert main(command) == 0


@pytest.mark.parametrize(
    "verb, said", [("compare", "once for each device"), ("distill", "plans for one process")]
)
def test_flags_that_do_not_go_together(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, said: str
) -> None:
    of = recipe if verb == "compare" else tmp_path
    assert main([verb, str(of), "--out", str(tmp_path / "run"), "--share", "--jobs", "2"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_seconds_of_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process counts its own at the same moment."""
    folders, stage = StageFolders(tmp_path), tmp_path / "experts-0123456789abcdef"
    folders.of("experts", "0123456789abcdef")
    monkeypatch.setattr(claims, "_POLL_S", 0.02)
    with folders.timed("experts", stage):
        other = stage_claim(stage).open("w")
        fcntl.flock(other, fcntl.LOCK_EX)

        def count(text: str) -> None:
            add_seconds(stage / "seconds.json", 5.0)
            other.close()

        monkeypatch.setattr(claims, "note", count)
    assert 5 < folders.seconds()["experts"] < 6
