"""Every command of README and docs is parsed in full, and run if that takes no time.

What a reader has to bring, such as `~/photos` or RECIPE, is something tiny here (`FILES`).
"""

import inspect
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from functools import cache, wraps
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import tyro
from PIL import Image

import decoct
from decoct import cli
from decoct.artefacts.targets import Targets
from decoct.data.images import Images
from decoct.data.tasks import Task
from tests.conftest import TINY_RECIPE, save_tiny, smooth_pixels
from tests.docs.commands import REPOSITORY, Command, commands, python_blocks

COMMANDS = list({command.text: command for command in commands()}.values())
OURS = [command for command in COMMANDS if command.program == "decoct"]

# Words that stand for a reader's own files, and what they are in the folder `world`.
FILES = {
    "RECIPE": "mine.yaml",
    "my-recipe.yaml": "mine.yaml",
    "mine.yaml": "mine.yaml",
    "RUN": "run",
    "FILE": "run/SET.safetensors",
    "SET": "run/SET.safetensors",
    "distilled.safetensors": "run/SET.safetensors",
    "ENCODER": "run/ENCODER.safetensors",
    "FOLDER": "photos",
}
# Words that stand for other words, by what stands before them.
WORDS = {"decoct VERB": "run", "stage NAME": "distill", "NAME": "me/my-set", "SHELL": "bash"}
_NUMBERS = count()
# Verbs that are run, for they are quick; of all others only the parsing is.
QUICK = {"doctor", "show", "export", "report", "recipe", "runs", "completion"}
# What commands begin with that are only parsed all the same, and why.
NOT_RUN = {r"decoct doctor \w": "measures how fast this machine is"}


class ParsedError(Exception):
    """All arguments were accepted; what would follow is left out."""


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_images: Images,
    tiny_targets: Targets,
    tiny_task: Task,
) -> Path:
    """A reader's home: pictures, labelled pictures, a recipe, and a run of it."""
    home = save_tiny(tmp_path_factory.mktemp("home"), tiny_images, tiny_targets, tiny_task)
    (home / "mine.yaml").write_text(TINY_RECIPE.format(folder=home))
    for folder in ("photos", "labelled/train/a", "labelled/train/b", "labelled/test/a"):
        (home / folder).mkdir(parents=True)
        for number, pixels in enumerate(smooth_pixels(80, seed=2)):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(home / folder / f"{number}.png")
    recipe = decoct.load_recipe(home / "mine.yaml").set("compare.methods", ("random",))
    run = decoct.Run(recipe, home / "run")
    decoct.compare(run)
    run.save_recipe()
    run.save_manifest()
    for name, kind in (("SET", "distilled"), ("ENCODER", "encoder")):
        found = sorted((home / "run").glob(f"*/{kind}.safetensors"))[0]
        shutil.copy(found, home / f"run/{name}.safetensors")
        shutil.copy(found, home / f"run/{kind}.safetensors")
    for name in ("a", "b", "demo", "photos"):
        shutil.copytree(home / "run", home / "desk/runs" / name)
    return home


def words_of(command: Command, world: Path) -> list[str]:
    """The arguments, with stand-ins; brackets only say that a flag may be left out."""
    text = re.sub(r"\[flags\]|\.\.\.|[\[\]]| > .*", " ", command.text)
    words = shlex.split(text)
    return [_stand_in(word, before, world) for before, word in pairwise(words)]


def _stand_in(word: str, before: str, world: Path) -> str:
    if before == "--out":
        return f"out/{next(_NUMBERS)}/{Path(word).name}"  # new ones
    if word.startswith("benchmarks/"):
        return str(REPOSITORY / word)
    if word in FILES:
        return str(world / FILES[word])
    return WORDS.get(f"{before} {word}", WORDS.get(word, word))


@pytest.fixture(scope="module")
def sources() -> Iterator[None]:
    """Read once, not at every command: tyro finds the help's texts in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getsource", cache(inspect.getsource))
        yield


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch, sources: None) -> None:
    """Make tyro check all arguments, and nothing follow."""
    real = tyro.cli

    def parse(target: Any, **options: Any) -> Any:
        found = real(_without_effect(target) if inspect.isfunction(target) else target, **options)
        if options.get("return_unknown_args"):  # somebody else parses the rest
            return found
        if hasattr(found, "recipe"):
            sections = {name: getattr(found, name) for name in found.recipe.methods}
            found.recipe.having(**sections)
        raise ParsedError

    monkeypatch.setattr(tyro, "cli", parse)


def _without_effect(function: Callable[..., Any]) -> Callable[..., None]:
    @wraps(function)
    def nothing(*args: object, **kwargs: object) -> None: ...

    return nothing


@pytest.fixture(autouse=True)
def at_home(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a desk where there are runs."""
    monkeypatch.setenv("HOME", str(world))
    monkeypatch.chdir(world / "desk")


def is_run(command: Command) -> bool:
    quick = command.text.split()[1] in QUICK
    return quick and not any(re.match(begin, command.text) for begin in NOT_RUN)


@pytest.mark.parametrize("command", [c for c in OURS if not is_run(c)], ids=str)
@pytest.mark.usefixtures("parse_only")
def test_a_command_is_understood(
    command: Command, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(command, world)
    if not command.whole and cli.help_text([*words, "--help"]):
        return  # a sentence names the verb alone
    try:
        status = cli.main(words)  # 0 if it asks for help
    except ParsedError:
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 0, "".join(capsys.readouterr())


@pytest.mark.parametrize("command", [c for c in OURS if is_run(c)], ids=str)
def test_a_quick_command_runs(
    command: Command, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(command, world)
    if not command.whole and len(words) == 1 and cli.help_text([*words, "--help"]):
        return  # a sentence names the verb alone
    assert cli.main(words) == 0, "".join(capsys.readouterr())
    assert capsys.readouterr().out.strip()


def test_pages_have_commands_and_exceptions_have_a_page() -> None:
    assert len(OURS) > 50 and any(is_run(command) for command in OURS)
    assert all(any(re.match(begin, command.text) for command in OURS) for begin in NOT_RUN)


@pytest.mark.parametrize(
    "words", [["distil", "demo"], ["run", "demo", "--matching.iteratons", "5"]]
)
@pytest.mark.usefixtures("parse_only")
def test_this_test_sees_what_is_wrong(words: list[str]) -> None:
    with pytest.raises(SystemExit) if len(words) > 2 else pytest.raises(AssertionError):
        assert cli.main(words) == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.program != "decoct"], ids=str)
def test_what_other_programs_are_told_is_there(command: Command) -> None:
    """Targets, scripts and their flags, tests, extras, arguments of the image's build."""
    words = shlex.split(command.text)
    words = words[words.index(command.program) + 1 :]
    CHECKS.get(command.program, _script)(command, words)


def _make(command: Command, words: list[str]) -> None:
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{word}:", text, flags=re.MULTILINE) for word in words)


def _pip(command: Command, words: list[str]) -> None:
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    known = tomllib.loads(text)["project"]["optional-dependencies"]
    named = [extra for word in words for extra in _extras(word)]
    assert words[0] == "install" and set(named) <= set(known)


def _extras(word: str) -> list[str]:
    found = re.match(r"(?:\.|decoct\b).*\[([\w,]+)\]", word)
    return found[1].split(",") if found else []


def _pytest(command: Command, words: list[str]) -> None:
    paths = [word for word in words if not word.startswith("-")]
    assert paths and all((REPOSITORY / path).exists() for path in paths)


def _python(command: Command, words: list[str]) -> None:
    if words[0] == "-m":
        return
    script = REPOSITORY / words[0]
    text = script.read_text("utf-8") + (REPOSITORY / "benchmarks/common.py").read_text("utf-8")
    flags = re.findall(r"--([\w-]+)", " ".join(words[1:]))
    assert all(flag.replace("-", "_") in text.replace("-", "_") for flag in flags)


def _docker(command: Command, words: list[str]) -> None:
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    given = [words[n + 1] for n, word in enumerate(words) if word == "--build-arg"]
    assert all(f"ARG {argument.partition('=')[0]}=" in text for argument in given)


def _script(command: Command, words: list[str]) -> None:
    assert (REPOSITORY / command.program).exists()


CHECKS = {"make": _make, "pip": _pip, "pytest": _pytest, "python": _python, "docker": _docker}


@pytest.mark.parametrize("page, code", python_blocks())
def test_python_is_python_and_names_what_there_is(page: str, code: str) -> None:
    compile(code, page, "exec")
    named = set(re.findall(r"\bdecoct\.([A-Za-z]\w*)", code))
    known = {*decoct.__all__, *(path.name for path in Path(decoct.__path__[0]).iterdir())}
    assert named <= known
