"""The wheel has all that the package needs, and works where there is no repository."""

import os
import shutil
import site
import subprocess
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from build import ProjectBuilder

import decoct
from decoct.run.recipes import recipe_names

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a source distribution, as `python -m build` does, by the setuptools at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=_not_ours)
    archive = ProjectBuilder(source, runner=_quiet).build("sdist", folder)
    shutil.unpack_archive(archive, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return Path(ProjectBuilder(unpacked, runner=_quiet).build("wheel", folder))


def _not_ours(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or name.endswith(".egg-info")]


def _quiet(
    command: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
) -> None:
    environment = {**os.environ, **(extra_environ or {})}
    subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True)


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    package = Path(decoct.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    ours = {str(path.relative_to(package.parent)) for path in files}
    assert ours - inside == set()
    assert {"decoct/py.typed", "decoct/__init__.pyi", "decoct/data/emoji/NOTICE.md"} <= ours


def test_it_says_what_it_is_and_under_which_licences(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    text = archive.read(metadata).decode()
    assert f"Version: {decoct.__version__}\n" in text and "# decoct" in text
    licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE.md", "LICENSE-fluent.txt", "LICENSE-noto.txt"}


USE = """
import sys
from importlib.metadata import entry_points
import decoct
print(decoct.__file__)
(script,) = entry_points(group="console_scripts", name="decoct")
decoct = script.load()
sys.exit(decoct(["--version"]) or decoct(["--help"]) or decoct(["show", sys.argv[1]]))
"""


def test_it_works_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which borrows what decoct depends on from this one."""
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    teacher = packages / "decoct/artefacts/embedded_teacher/teacher.safetensors"
    command = [home / "bin/python", "-I", "-c", USE, teacher]
    done = subprocess.run(command, cwd=tmp_path, text=True, check=True, capture_output=True)
    where, version, *rest = done.stdout.splitlines()
    assert Path(where).is_relative_to(home) and version == f"decoct {decoct.__version__}"
    said = "\n".join(rest)
    assert all(name in said for name in recipe_names()) and "resnet10" in said
