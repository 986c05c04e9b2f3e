"""Data sets of torchvision by name (extra: torchvision)."""

import inspect
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from decoct.core import atomic
from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra
from decoct.data.hub_rows import read_rows
from decoct.data.source_arrays import SourceArrays

_FOLDER = "DECOCT_TORCHVISION"  # the environment variable with the folder of the sets
_OPTIONS = ("split", "image_set", "classes", "version")  # what constructors call a set's parts
_SWITCHES = {"train": ("train", "test"), "background": ("background", "evaluation")}
_TRAIN = ("train", "trainval", "2021_train")  # what they call the usual ones
_TEST = ("test", "val", "valid", "2021_valid")


def read_torchvision(name: str, *, size: int, channels: int, split: str) -> SourceArrays:
    """A torchvision data set; `name@part` chooses a part of it explicitly.

    It lies in, or is downloaded to, the folder that the environment variable `DECOCT_TORCHVISION`
    names (default: in the user's cache). Raises `DecoctError` if it cannot be had.
    """
    module: Any = import_extra("torchvision.datasets", extra="torchvision", package="torchvision")
    kind, _, part = name.partition("@")
    factory = getattr(module, kind, None)
    if not inspect.isclass(factory):
        raise DecoctError(f"torchvision has no data set called {kind}")
    if factory in (module.ImageFolder, module.DatasetFolder):
        raise DecoctError(f"torchvision's {kind} is for any folder: give the folder itself")
    root = os.environ.get(_FOLDER) or Path.home() / ".cache" / "decoct" / "torchvision"
    folder = Path(root).expanduser()
    atomic.make_folder(folder)
    parameters = inspect.signature(factory).parameters
    ways = _ways(name, parameters, part=part, test=split == "test")
    downloads = "download" in parameters or issubclass(factory, module.MNIST)
    dataset = _first_made(name, factory, ways, folder=folder, downloads=downloads)
    names: Any = getattr(dataset, "classes", None) or getattr(dataset, "categories", ())
    return read_rows(
        name,
        (partial(dataset.__getitem__, number) for number in range(len(dataset))),
        total=len(dataset),
        size=size,
        channels=channels,
        class_names=tuple(map(str, names)),
    )


def _ways(
    name: str, parameters: Mapping[str, inspect.Parameter], *, part: str, test: bool
) -> list[dict[str, Any]]:
    """The arguments to try for a part; which ones there are, the set's constructor says."""
    option = next((option for option in _OPTIONS if option in parameters), None)
    if option and parameters[option].default is inspect.Parameter.empty:  # EMNIST's variants
        return [{option: part or "balanced", "train": not test}]
    if part and test:
        raise DecoctError(
            f"torchvision:{name} is one part of a set, and a task needs two: leave out @{part}"
        )
    if option:
        usual: list[dict[str, Any]] = [{option: word} for word in (_TEST if test else _TRAIN)]
        return [{option: part}] if part else usual if test else [*usual, {}]
    switch = next((switch for switch in _SWITCHES if switch in parameters), "")
    words: tuple[str, ...] = _SWITCHES.get(switch, ())
    if part and part not in words:
        raise DecoctError(f"torchvision:{name}: its parts are {' and '.join(words) or 'unnamed'}")
    if test and switch != "train":  # the evaluation part of Omniglot has classes of its own
        raise DecoctError(
            f"torchvision:{name} is no task: it has no test part; save its images as a folder with "
            "train and test inside, and a sub-folder for each class"
        )
    return [{switch: not test and part in ("", words[0])}] if switch else [{}]


def _first_made(
    name: str, factory: Any, ways: Sequence[Mapping[str, Any]], *, folder: Path, downloads: bool
) -> Any:
    """The data set by the first of the ways whose word it knows; downloaded if it is not there."""
    failure: Exception | None = None
    for way in ways:
        for how in ({"download": False}, {"download": True}) if downloads else ({},):
            try:
                return factory(root=str(folder), **way, **how)
            except Exception as error:  # a damaged file can raise anything
                failure = error
        if "Unknown value" not in str(failure):
            break
    why = str(failure)
    if isinstance(failure, LookupError | EOFError | AttributeError | UnpicklingError):
        why = f"its files are damaged ({type(failure).__name__}: {failure}); delete them"
    raise DecoctError(f"torchvision could not provide {name} in {folder}: {why}") from failure
