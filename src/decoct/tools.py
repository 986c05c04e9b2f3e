"""The verbs that take a file or a folder, or look at the machine."""

from collections.abc import Callable
from pathlib import Path

import tyro

from decoct.report.export import export
from decoct.report.page import write_report
from decoct.report.show import show
from decoct.run.doctor import doctor


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


TOOLS: dict[str, Callable[..., None]] = {
    "report": _report,
    "show": _show,
    "export": _export,
    "doctor": _doctor,
}
