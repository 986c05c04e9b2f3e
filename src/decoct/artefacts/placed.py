"""`Placed`: experts where matching reads them, on the device as far as a budget allows."""

from torch import Tensor

from decoct.artefacts.trajectories import Trajectories, read_parameters
from decoct.core.shapes import Parameters


class Placed:
    """The parameters of experts, on the device and in the type of a tensor.

    Those that are read first stay on a GPU, in the type of their files, until `memory` GB are
    taken. The others stay in pinned memory of the CPU, and each use copies one epoch: experts are
    drawn at random, so it makes no difference which of them stay.
    """

    def __init__(self, trajectories: Trajectories, *, like: Tensor, memory: float) -> None:
        self.trajectories, self.like = trajectories, like
        self._bytes_left = int(memory * 1e9)
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.trajectories)

    def at(self, k: int, epoch: int) -> Parameters:
        """The parameters of expert k after so many epochs."""
        if k not in self._kept:
            self._kept[k] = self._placed(k)
        vector = self._kept[k][epoch].to(self.like.device, non_blocking=True)
        return vector.to(self.like.dtype)  # widened where it is computed with

    def _placed(self, k: int) -> Tensor:
        device = self.like.device
        if device.type == "cpu":
            return self.trajectories.stored(k)
        found = read_parameters(self.trajectories.files[k])
        if found.nbytes <= self._bytes_left:
            self._bytes_left -= found.nbytes
            return found.to(device)
        return found.pin_memory() if device.type == "cuda" else found
