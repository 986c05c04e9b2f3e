"""A sample of what `benchmarks/faults.py` tries in full: a whole run, each kind of operation."""

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


def test_a_run_survives_a_fault_of_each_kind_and_a_power_cut(tmp_path: Path) -> None:
    recipe, run = write_tiny(tmp_path, methods="[mkdt]"), tmp_path / "run"
    command = ["stage", "distill", str(recipe), "--out", str(run)]
    before, disk = state_of(tmp_path), Disk(tmp_path)
    with disk.watched():
        assert decoct(command)[0] == 0
    expected = contents(run)
    operations = disk.operations
    kinds = sorted({operation.kind for operation in operations})
    for turn, kind in enumerate(kinds):
        numbers = [n for n, operation in enumerate(operations) if operation.kind == kind]
        fail, error = numbers[turn % len(numbers)], ERRORS[turn % len(ERRORS)]
        failed = survive_fault(
            command, tmp_path, run=run, expected=expected, fail=fail, error=error
        )
        assert failed is not None
    found = [state for _, state in states(tmp_path, operations, before)]
    for state in found[:: len(found) // 4]:
        put(tmp_path, state)
        survive_state(command, run=run, expected=expected)
