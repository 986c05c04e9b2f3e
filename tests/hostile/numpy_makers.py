"""Files of arrays as nobody should write them."""

import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy


def header(descr: Any, shape: Any, *, more: str = "", version: int = 1) -> bytes:
    """The header of a .npy file, whatever it says."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, {more}}}\n".encode()
    return framed(text, version=version)


def framed(text: bytes, *, version: int = 1) -> bytes:
    """A .npy file with this text for its header."""
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return npy.magic(version, 0) + length + text


def array_bytes(array: Any) -> bytes:
    """An array as numpy writes it: the content of a .npy file."""
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(
    path: Path, members: Mapping[str, bytes], *, how: int = zipfile.ZIP_STORED, twice: str = ""
) -> None:
    """A .npz with these members, of which one may be in it twice."""
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
        if twice:
            with pytest.warns(UserWarning, match="Duplicate name"):
                file.writestr(twice, members[twice])
