"""Networks of different ages, all in training on the synthetic set (FRePo, KRR-ST)."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoct.core import checkpoint, seeding
from decoct.core.errors import DecoctError
from decoct.models.network import Network

MakeOptimiser = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


class Population:
    """Networks with their optimisers and ages; each lives for `lifetime` steps, and starts anew.

    Networks are in eval mode, but while they take a step. `create` draws a network from torch's
    global generator, which is seeded for it. Where `reset_counter` is false, an age stays as it is
    when its network is made anew (as released), and so that happens at every visit from then on.
    """

    def __init__(
        self,
        create: Callable[[], Network],
        optimiser: MakeOptimiser,
        *,
        lifetime: int,
        reset_counter: bool = True,
        seed: int,
    ) -> None:
        self.create, self.make_optimiser = create, optimiser
        self.lifetime, self.reset_counter, self.seed = lifetime, reset_counter, seed
        self.networks: list[Network] = []
        self.optimisers: list[torch.optim.Optimizer] = []
        self.ages: list[int] = []

    def __len__(self) -> int:
        return len(self.networks)

    def grow(self, images: Tensor, targets: Tensor) -> None:
        """One network more, trained for a number of steps drawn from [1, lifetime).

        Raises `DecoctError` where its training diverges.
        """
        k = len(self)
        self._append("network", k)
        draws = seeding.generator(self.seed, "krr-st", "network", k, "age")
        self.ages.append(int(torch.randint(1, self.lifetime, (), generator=draws)))
        for _ in range(self.ages[k]):
            self._train(k, images, targets)
        if not all(bool(p.isfinite().all()) for p in self.networks[k].parameters()):
            raise DecoctError(f"network {k} diverged; lower krr_st.network_lr")

    def advance(self, k: int, images: Tensor, targets: Tensor, *, iteration: int) -> None:
        """Let network k take a step; where its life is over, put a new one in its place."""
        if self.ages[k] < self.lifetime:
            self._train(k, images, targets)
            self.ages[k] += 1
            return
        self.networks[k], self.optimisers[k] = self._fresh(iteration, "network")
        if self.reset_counter:
            self.ages[k] = 0

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers and moments, for a checkpoint; `ages` is not among them."""
        found: dict[str, Tensor] = {}
        for k, (network, optimiser) in enumerate(zip(self.networks, self.optimisers, strict=True)):
            found |= checkpoint.module_tensors(f"network.{k}", network)
            found |= checkpoint.optimiser_tensors(f"network_optimiser.{k}", optimiser)
        return found

    def restore(self, tensors: dict[str, Tensor], ages: list[int]) -> None:
        """Put the networks back that `tensors` was called on."""
        for k in range(len(ages)):
            self._append("restored", k)
            checkpoint.restore_module(f"network.{k}", self.networks[k], tensors)
            checkpoint.restore_optimiser(f"network_optimiser.{k}", self.optimisers[k], tensors)
        self.ages = list(ages)

    def _append(self, *place: str | int) -> None:
        network, optimiser = self._fresh(*place)
        self.networks.append(network)
        self.optimisers.append(optimiser)

    def _fresh(self, *place: str | int) -> tuple[Network, torch.optim.Optimizer]:
        with seeding.seeded(self.seed, "krr-st", *place, "initialisation"):
            network = self.create().eval()
        return network, self.make_optimiser(network.parameters())

    def _train(self, k: int, images: Tensor, targets: Tensor) -> None:
        """A step on the whole set."""
        network, optimiser = self.networks[k].train(), self.optimisers[k]
        F.mse_loss(network(images), targets).backward()
        optimiser.step()
        optimiser.zero_grad()
        network.eval()
