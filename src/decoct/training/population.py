"""Networks of different ages, all training on the synthetic set (FRePo, KRR-ST, Boost-SSDD)."""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoct.core import checkpoint, failing_step, seeding
from decoct.core.console import note
from decoct.core.errors import DivergedError
from decoct.models.network import Network

MakeOptimiser = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
Batch = Callable[[], tuple[Tensor, Tensor]]  # the images and targets of a step


class Population:
    """Networks with optimisers and ages; each is re-initialised after `lifetime` steps.

    Networks are in eval mode except while they take a step. `create` draws a network from torch's
    global generator, which is seeded for it; `stage` is the method whose draws these are. If
    `reset_counter` is false, a re-initialised network keeps its age (as KRR-ST's code has it), so
    it is re-initialised at every later visit.
    """

    def __init__(
        self,
        create: Callable[[], Network],
        optimiser: MakeOptimiser,
        *,
        lifetime: int,
        reset_counter: bool = True,
        stage: str,
        seed: int,
    ) -> None:
        self.create, self.make_optimiser = create, optimiser
        self.lifetime, self.reset_counter = lifetime, reset_counter
        self.stage, self.seed = stage, seed
        self.networks: list[Network] = []
        self.optimisers: list[torch.optim.Optimizer] = []
        self.ages: list[int] = []

    def __len__(self) -> int:
        return len(self.networks)

    def grow(self, batch: Callable[[int], tuple[Tensor, Tensor]]) -> None:
        """Add a network, trained for a number of steps drawn from [1, lifetime).

        `batch` gives the images and targets of each step, by its number. A network that diverges is
        trained again, step by step; raises `DivergedError` if it does so again.
        """
        k = len(self)
        self._append("network", k)
        draws = seeding.generator(self.seed, self.stage, "network", k, "age")
        self.ages.append(int(torch.randint(1, self.lifetime, (), generator=draws)))
        for step in range(self.ages[k]):
            self._train(k, *batch(step))
        if not self.is_finite(k):
            note(f"{self.stage}: network {k} is not finite; training it again")
            self.networks[k], self.optimisers[k] = self._fresh("network", k)
            for step in range(self.ages[k]):
                self._look(k, step, batch(step))

    def _look(self, k: int, step: int, batch: tuple[Tensor, Tensor]) -> None:
        """Take a step; raise if it is not finite."""
        before = self.network_state(k)
        self._train(k, *batch)
        if self.is_finite(k):
            return
        self.restore_network(k, *before)
        where = failing_step.where_not_finite(lambda: self._train(k, *batch))
        section = self.stage.replace("-", "_")
        raise DivergedError(
            f"network {k} diverged; lower {section}.network_lr (step {step}: {where})"
        )

    def is_finite(self, k: int) -> bool:
        """Whether network k's parameters and buffers are."""
        return failing_step.all_finite(self.networks[k].state_dict().values())

    def advance(self, k: int, batch: Batch, *, iteration: int) -> None:
        """Let network k take a step; if its lifetime is over, re-initialise it."""
        if self.ages[k] < self.lifetime:
            self._train(k, *batch())
            self.ages[k] += 1
            return
        self.networks[k], self.optimisers[k] = self._fresh(iteration, "network")
        if self.reset_counter:
            self.ages[k] = 0

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers and moments, for a checkpoint; `ages` are not included."""
        found: dict[str, Tensor] = {}
        for k, (network, optimiser) in enumerate(zip(self.networks, self.optimisers, strict=True)):
            found |= checkpoint.module_tensors(f"network.{k}", network)
            found |= checkpoint.optimiser_tensors(f"network_optimiser.{k}", optimiser)
        return found

    def network_state(self, k: int) -> tuple[dict[str, Tensor], int]:
        """A copy of network k's tensors, and its age."""
        network = checkpoint.module_tensors("network", self.networks[k])
        moments = checkpoint.optimiser_tensors("optimiser", self.optimisers[k])
        return {n: t.clone() for n, t in (network | moments).items()}, self.ages[k]

    def restore_network(self, k: int, tensors: dict[str, Tensor], age: int) -> None:
        """Take network k back to what `network_state` returned."""
        checkpoint.restore_module("network", self.networks[k], tensors)
        moments = {name: tensor.clone() for name, tensor in tensors.items()}
        checkpoint.restore_optimiser("optimiser", self.optimisers[k], moments)
        self.ages[k] = age

    def restore(self, tensors: Mapping[str, Tensor], ages: list[int]) -> None:
        """Restore the networks from what `tensors` returned."""
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
        with seeding.seeded(self.seed, self.stage, *place, "initialisation"):
            network = self.create().eval()
        return network, self.make_optimiser(network.parameters())

    def _train(self, k: int, images: Tensor, targets: Tensor) -> None:
        """Take a step."""
        network, optimiser = self.networks[k].train(), self.optimisers[k]
        F.mse_loss(network(images), targets).backward()
        optimiser.step()
        optimiser.zero_grad()
        network.eval()
