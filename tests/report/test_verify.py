"""`decoct verify` says what is whole, and for the rest what makes it again."""

import os
import shutil
from pathlib import Path

import pytest

from decoct.artefacts.targets import Targets
from decoct.cli import main
from decoct.core import storage
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.report.descriptions import DESCRIBERS
from decoct.report.readers import READERS
from decoct.report.verify import Checked, is_whole, verify, verify_text
from decoct.run.seconds import read_seconds
from tests.conftest import TINY_RECIPE, save_tiny

REAL = Path(__file__).parent / "files" / "demo-mkdt.safetensors"  # of format version 1


@pytest.fixture(scope="module")
def made(
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_task: Task,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run's folder with the pool and the targets. Read-only."""
    folder = save_tiny(tmp_path_factory.mktemp("data"), tiny_images, tiny_targets, tiny_task)
    (folder / "mine.yaml").write_text(TINY_RECIPE.format(folder=folder))
    out = folder / "run"
    recipe = str(folder / "mine.yaml")
    assert main(["stage", "compute-targets", recipe, "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, with what is not decoct's."""
    out = Path(shutil.copytree(made, tmp_path / "run"))
    (out / "notes.txt").write_text("mine")
    (out / "other.json").write_text("{}")
    os.mkfifo(out / "pipe.safetensors")
    (out / "nowhere.json").symlink_to("gone")
    (out / "slurm").mkdir()  # of `decoct submit`, which is passed over
    (out / "slurm" / "17_submitted.pkl").touch()
    return out


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def by_state(found: list[Checked]) -> dict[str, set[str]]:
    states: dict[str, set[str]] = {}
    for one in found:
        states.setdefault(one.state, set()).add(one.path.name.split("-")[0])
    return states


def again(tmp_path: Path) -> None:
    recipe = str(tmp_path / "run" / "recipe.yaml")
    assert main(["stage", "compute-targets", recipe, "--out", str(tmp_path / "run")]) == 0


def test_all_of_a_run_is_told_apart(run: Path) -> None:
    found = by_state(verify(run))
    assert found["whole"] == {
        "images.safetensors",
        "targets.safetensors",
        "run.json",
        "seconds.json",
    }
    assert found["unknown"] == {"notes.txt", "other.json", "pipe.safetensors", "nowhere.json"}
    assert found["text"] == {"recipe.yaml"}
    assert {"random", "encoder", "probe"} <= found["missing"]
    assert found.keys() == {"whole", "unknown", "text", "missing"}


def test_damage_is_found_and_what_is_advised_mends_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = only(run, "targets-*/targets.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(run)])
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert f"damaged: {file}\n" in said
    assert f"decoct run {run / 'recipe.yaml'} makes it again" in said
    again(tmp_path)
    assert file.read_bytes() == whole
    assert main(["verify", str(run)]) == 0
    assert "damaged" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("run.json", "makes it again"),
        ("targets-*/seconds.json", "makes it again"),
        ("recipe.yaml", "decoct run YOUR_RECIPE --out"),
    ],
)
def test_damage_anywhere_is_found(run: Path, pattern: str, sentence: str) -> None:
    file = only(run, pattern)
    file.write_bytes(file.read_bytes()[:-9] + b"\xff")
    (found,) = [one for one in verify(run) if one.state == "damaged"]
    assert found.path == file
    assert sentence in found.remedy


def test_a_file_at_anothers_place_is_damage(run: Path) -> None:
    images, targets = (only(run, f"{n}-*/{n}.safetensors") for n in ("images", "targets"))
    targets.write_bytes(images.read_bytes())
    (found,) = [one for one in verify(run) if one.state == "damaged"]
    assert found.path == targets
    assert "holds 'images'; 'targets' belongs there" in found.why


def test_a_right_digest_is_not_enough(run: Path) -> None:
    targets = only(run, "targets-*/targets.safetensors")
    tensors, meta = storage.load_tensors(targets, kind="targets")
    del tensors["scale"]
    storage.save_tensors(targets, tensors, kind="targets", meta=meta)
    (found,) = [one for one in verify(run) if one.state == "damaged"]
    assert "scale is missing" in found.why


def test_what_was_begun_and_what_nothing_reaches(run: Path) -> None:
    targets = only(run, "targets-*")
    (targets / "targets.safetensors").rename(targets / "state.safetensors")
    storage.save_tensors(targets / "state.safetensors", {}, kind="checkpoint", meta={})
    old = run / f"images-{16 * '0'}"
    storage.save_json(old / "seconds.json", {"seconds": 1.0}, kind="seconds")
    (run / "run.json").unlink()  # which names what was made, whatever the recipe says now
    found = verify(run)
    (unfinished,) = [one for one in found if one.state == "unfinished"]
    assert unfinished.path == targets and "its checkpoint is kept" in unfinished.why
    assert [one.path.parent for one in found if not one.reached] == [old]
    assert is_whole(found)
    said = verify_text(found)
    assert "stages that the recipe does not reach: 1; decoct clean lists them" in said


@pytest.mark.parametrize("content", ["null", '{"seconds": null}', '{"seconds": 2.5}'])
def test_a_run_goes_on_whatever_its_seconds_say(run: Path, tmp_path: Path, content: str) -> None:
    seconds = only(run, "targets-*/seconds.json")
    seconds.write_text(content)
    only(run, "targets-*/targets.safetensors").unlink()
    again(tmp_path)
    earlier = 2.5 if "2.5" in content else 0.0  # as earlier versions wrote it
    assert earlier < read_seconds(seconds) < earlier + 60
    assert is_whole(verify(run))


def test_every_kind_can_be_checked() -> None:
    assert set(DESCRIBERS) <= set(READERS)


def test_single_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(REAL)[0] == Checked(REAL, "whole", "distilled")
    file = Path(shutil.copy(REAL, tmp_path / "mine.safetensors"))
    assert main(["verify", str(file)]) == 0
    assert capsys.readouterr().out == "whole: 1 (1 distilled)\n"
    file.write_bytes(file.read_bytes()[:-1])
    (found,) = verify(file)
    assert (found.state, found.remedy[:20]) == ("damaged", "ask whoever made it ")
    file.write_bytes(b"")
    assert verify(file)[0].state == "damaged"
    assert main(["verify", str(tmp_path / "gone")]) == 2
    assert "gone does not exist" in capsys.readouterr().err
