"""`Trajectories`: the parameters of expert students, epoch by epoch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jaxtyping import Float
from torch import Tensor

from decoct.artefacts.weights import network_config
from decoct.core import storage
from decoct.core.errors import DecoctError
from decoct.core.forms import check_forms, typed, understood
from decoct.models.registry import NetworkConfig


@dataclass(frozen=True)
class Trajectories:
    """K experts on disk, one file each; a file stays in memory after it is first read."""

    files: tuple[Path, ...]
    _cache: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def epochs(self) -> int:
        """E: the files hold the parameters after 0 .. E epochs."""
        return len(self.stored(0)) - 1

    @property
    def network(self) -> NetworkConfig:
        """The experts' architecture."""
        with understood(self.files[0]):
            meta = storage.read_header(self.files[0])["meta"]
            return network_config(meta["config"]["network"])

    def expert(self, k: int) -> Float[Tensor, "epoch parameter"]:
        """The E+1 parameter vectors of expert k: (E+1) x P, float32 whatever the file's type."""
        return self.stored(k).float()

    def stored(self, k: int) -> Float[Tensor, "epoch parameter"]:
        """As `expert`, in the file's type."""
        if k not in self._cache:
            self._cache[k] = read_parameters(self.files[k])
        return self._cache[k]

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """All experts of a folder; raises `DecoctError` if there are none."""
        files = tuple(sorted(Path(folder).glob("[0-9]*.safetensors")))
        if not files:
            raise DecoctError(f"{folder} holds no expert trajectories")
        return cls(files)


def read_parameters(file: Path) -> Float[Tensor, "epoch parameter"]:
    """One expert's parameters from its file, in the file's type."""
    return read_expert(file)[0]["parameters"]


def read_expert(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """One expert's tensors, and what its file says of it: `expert`, `seed` and `config`."""
    with understood(file):
        tensors, meta = storage.load_tensors(file, kind="expert")
        check_forms(tensors, {"parameters": "float _ P", "losses": "float _"})
        if len(tensors["parameters"]) != len(tensors["losses"]) + 1:
            raise DecoctError("its losses are not those of its epochs")
        typed([meta["expert"], meta["seed"]], list[int])
        network_config(meta["config"]["network"])
        return tensors, meta
