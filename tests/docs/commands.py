"""The commands that README and docs show: in blocks, indented or fenced, and in running text."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "docs").rglob("*.ipynb"),
    ]
)
PROGRAMS = ("decoct", "make", "pip", "python", "pytest", "docker")
_COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*({'|'.join(PROGRAMS)}|benchmarks/\S+\.sh)(?= |$)")
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_IN_TEXT = re.compile(r"`((?:decoct|make) [^`]+)`")


@dataclass(frozen=True)
class Command:
    """A command as a page shows it; `whole` unless it stands in a sentence."""

    page: str
    text: str
    whole: bool

    @property
    def program(self) -> str:
        found = _COMMAND.match(self.text)
        assert found
        return found[1]

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands() -> list[Command]:
    """Every command of every page, once a page."""
    return list(dict.fromkeys(command for page in PAGES for command in _commands_of(page)))


def _commands_of(page: Path) -> Iterator[Command]:
    name, text = str(page.relative_to(REPOSITORY)), _text(page)
    blocks = [match[3] for match in _FENCED.finditer(text) if match[2] != "python"]
    prose = _FENCED.sub("", text)
    blocks += re.findall(r"(?:^ {4,}\S.*\n)+", prose, flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", " ", "\n".join(blocks)).split("\n"):
        command = re.split(r"\s{3,}|\s+# ", line.strip())[0]  # what follows explains it
        if _COMMAND.match(command):
            yield Command(name, " ".join(command.split()), whole=True)
    for command in _IN_TEXT.findall(prose):
        yield Command(name, " ".join(command.split()), whole=False)


def _text(page: Path) -> str:
    if page.suffix == ".md":
        return page.read_text("utf-8")
    cells = json.loads(page.read_text("utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def python_blocks() -> list[tuple[str, str]]:
    """The name and the code of each Python block of a page."""
    return [
        (str(page.relative_to(REPOSITORY)), match[3])
        for page in PAGES
        for match in _FENCED.finditer(_text(page))
        if match[2] == "python"
    ]
