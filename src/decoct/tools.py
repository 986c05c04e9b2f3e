"""The verbs that take a file or a folder, or look at the machine."""

import sys
from collections.abc import Callable
from pathlib import Path

import tyro
from rich.filesize import decimal as size_text

from decoct.completion import completion_script
from decoct.core.errors import DecoctError
from decoct.report.export import export
from decoct.report.page import write_report
from decoct.report.runs import runs_in, runs_rows
from decoct.report.runs_compared import compare_runs
from decoct.report.show import show
from decoct.report.table import columns
from decoct.run.clean import remove, studies_in, unreachable
from decoct.run.doctor import doctor
from decoct.run.folder import size_of


def _report(run: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """Write one self-contained HTML page about the run in a folder."""
    print(f"report: {write_report(run, out=out)}")


def _show(file: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """Describe any artefact, and write its images as a PNG."""
    print(show(file, out=out))


def _export(file: tyro.conf.Positional[Path], out: Path, uint8: bool = False) -> None:
    """Write a distilled set as PNG images and targets, or (--uint8) as a file of bytes."""
    print(f"exported to {export(file, out=out, uint8=uint8)}")


def _doctor(out: Path = Path("runs")) -> None:
    """Show what is installed, what works, and how much room there is for runs in `out`."""
    print(doctor(folder=out))


def _runs(
    folders: tyro.conf.Positional[tuple[str, ...]] = ("runs",),
) -> None:
    """List the runs in a folder, or `compare A B`: two runs' recipes and scores."""
    if folders[0] == "compare":
        if len(folders) != 3:
            raise DecoctError("decoct runs compare takes two runs: decoct runs compare A B")
        print(compare_runs(folders[1], folders[2]))
        return
    for folder in folders:
        print(columns(runs_rows(runs_in(folder))))


def _clean(run: tyro.conf.Positional[Path], yes: bool = False) -> None:
    """Delete the stages that a run's recipe does not reach; says which, and asks before."""
    folders = unreachable(run)
    if not folders:
        print(f"nothing to delete: the recipe of {run} reaches every stage in it")
        return
    rows = [[folder.name, size_text(size_of(folder))] for folder in folders]
    print(columns([*rows, ["together", size_text(sum(map(size_of, folders)))]]))
    if studies := studies_in(run):
        print(f"{' and '.join(studies)} stay; what they measured would be made again if need be")
    if not yes and not _agrees("delete these folders?"):
        print("nothing is deleted; --yes deletes them without asking")
        return
    remove(folders)
    print(f"deleted: {len(folders)}")


def _agrees(question: str) -> bool:
    """Whether the user says yes; without a terminal nobody does."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _completion(shell: tyro.conf.Positional[str]) -> None:
    """Print a script that lets a shell complete verbs, recipes, stages, sections and flags."""
    print(completion_script(shell))


TOOLS: dict[str, Callable[..., None]] = {
    "report": _report,
    "show": _show,
    "export": _export,
    "doctor": _doctor,
    "runs": _runs,
    "clean": _clean,
    "completion": _completion,
}
