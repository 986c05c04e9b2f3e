"""Placeholder until show lands."""
from pathlib import Path
def describe(path: Path) -> str:
    return str(path)
