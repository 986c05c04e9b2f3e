"""A sample of what `benchmarks/faults.py` tries in full: a stage with all that it needs."""

from pathlib import Path

from tests.faults.crash import states
from tests.faults.disk import ERRORS, Disk
from tests.faults.tiny import (
    contents,
    decoct,
    put,
    state_of,
    survive_fault,
    survive_state,
    write_tiny,
)


def test_a_run_survives_faults_and_power_cuts(tmp_path: Path) -> None:
    recipe, run = write_tiny(tmp_path, methods="[mkdt]"), tmp_path / "run"
    command = ["stage", "distill", str(recipe), "--out", str(run)]
    before, disk = state_of(tmp_path), Disk(tmp_path)
    with disk.watched():
        assert decoct(command)[0] == 0
    expected = contents(run)
    operations = disk.operations
    for turn, kind in enumerate(("load", "replace", "write", "read")):
        numbers = [n for n, operation in enumerate(operations) if operation.kind == kind]
        fail, error = numbers[len(numbers) // 2], ERRORS[turn]
        failed = survive_fault(
            command, tmp_path, run=run, expected=expected, fail=fail, error=error
        )
        assert failed is not None
    found = [state for _, state in states(tmp_path, operations, before)]
    for state in found[:: len(found) // 2]:
        put(tmp_path, state)
        survive_state(command, run=run, expected=expected)
