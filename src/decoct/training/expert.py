"""One expert: a student in training, whose parameters after every epoch are its trajectory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from decoct.core import failing_step, seeding
from decoct.core.compilation import Compile
from decoct.core.console import Advance, note
from decoct.core.device import Precision
from decoct.core.errors import DecoctError, DivergedError
from decoct.core.failing_step import FiniteThisTime
from decoct.core.settings import Bounds, Count, Momentum, NonNegative, Positive, Settings
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.models.registry import NetworkConfig

# maps (parameters P, images B x C x H x W, targets B x D) to a loss and its gradient P
Gradient = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ExpertsConfig(Settings):
    """How the experts are trained; the defaults are the paper's."""

    section: ClassVar[str] = "experts"

    # how many students are trained
    count: Annotated[int, Bounds(at_least=1, at_most=100_000)] = 100
    epochs: Count = 3  # of each; weights are kept after every one
    network: NetworkConfig = field(default_factory=NetworkConfig)
    batch: Count = 256  # images in a step
    lr: Positive = 0.1  # of SGD
    momentum: Momentum = 0.9  # of SGD
    weight_decay: NonNegative = 1e-4  # of SGD
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of the files
    compile: Compile = "auto"  # use torch.compile; auto: if training is long enough to pay for it
    precision: Precision = "float32"  # tf32 and bfloat16 are for CUDA: faster, but less exact

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network.name != "convnet":  # running statistics of batch norm are not parameters
            raise DecoctError(
                f"experts are ConvNets, not {self.network.name}: matching moves parameters, but a "
                "network with batch norm also has running statistics"
            )


@dataclass(frozen=True)
class _At:
    """Where an expert's training is: nothing of it is changed in place."""

    theta: Tensor
    velocity: Tensor
    total: Tensor  # of the epoch's losses
    step: int = 0  # of the epoch

    @property
    def is_finite(self) -> bool:
        return failing_step.all_finite([self.theta, self.velocity, self.total])


@dataclass(frozen=True)
class ExpertTraining:
    """What all experts have in common; `expert` trains one of them."""

    images: Images
    values: Tensor
    config: ExpertsConfig
    seed: int
    gradient: Gradient
    state: Path | None

    def expert(self, k: int, theta: Tensor, advance: Advance) -> dict[str, Tensor]:
        """Train expert k from its first parameters on."""
        velocity, path, losses = torch.zeros_like(theta), [theta.cpu()], []
        for epoch in range(self.config.epochs):
            began = at = _At(theta, velocity, theta.new_zeros(()))
            for step in self._steps(k, epoch, began):
                at = step
            if not at.is_finite:
                note(f"expert {k}: not finite in epoch {epoch}; repeating its steps")
                at = self._look(k, epoch, began)
                note(f"expert {k}: finite this time; going on")
            theta, velocity = at.theta, at.velocity
            path.append(theta.cpu())
            losses.append(float(at.total) / len(self.images))
            advance(f"loss {losses[-1]:.4g}")
        dtype: torch.dtype = getattr(torch, self.config.dtype)
        parameters = torch.stack(path).to(dtype)
        if not bool(parameters.isfinite().all()):
            raise DivergedError(
                f"the parameters of expert {k} are too large for {self.config.dtype}; use another "
                "experts.dtype, or lower experts.lr"
            )
        return {"parameters": parameters, "losses": torch.tensor(losses)}

    @torch.no_grad()
    def _steps(
        self, k: int, epoch: int, at: _At, draws: Mapping[str, Tensor] | None = None
    ) -> Iterator[_At]:
        """The rest of an epoch; `draws` are what its first step draws from, if it has begun."""
        config = self.config
        order = torch.randperm(
            len(self.images), generator=seeding.generator(self.seed, "experts", k, epoch)
        )
        batches = order.split(config.batch)[at.step :]
        with seeding.seeded(self.seed, "experts", k, epoch, "views"):
            if at.step and draws:
                failing_step.restore_draws(draws)
            for index, pictures in stream(self.images, batches, device=at.theta.device):
                loss, slope = self.gradient(at.theta, pictures, self.values[index])
                velocity = config.momentum * at.velocity + slope + config.weight_decay * at.theta
                at = _At(
                    theta=at.theta - config.lr * velocity,
                    velocity=velocity,
                    total=at.total + loss * len(index),
                    step=at.step + 1,
                )
                yield at

    def _look(self, k: int, epoch: int, before: _At) -> _At:
        """As `_steps`, but look at each, and raise if it is not finite."""
        steps = self._steps(k, epoch, before)
        while True:
            draws = failing_step.with_draws({})
            at = next(steps, None)
            if at is None:
                return before
            if not at.is_finite:
                raise self._diverged(k, epoch, before, draws)
            before = at

    def _diverged(
        self, k: int, epoch: int, before: _At, draws: Mapping[str, Tensor]
    ) -> DivergedError:
        where = failing_step.where_not_finite(lambda: next(self._steps(k, epoch, before, draws)))
        tensors = {"theta": before.theta, "velocity": before.velocity, "total": before.total}
        said = failing_step.keep(
            self.state,
            {**tensors, **draws},
            meta={"expert": k, "epoch": epoch, "steps": before.step},
            step=f"step {before.step} of epoch {epoch}",
            where=where,
        )
        return DivergedError(
            f"expert {k} diverged in epoch {epoch}; lower experts.lr (of mtt-ssl's experts "
            f"mtt_ssl.lr), or scale the targets ({said})"
        )

    def repeat(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take the step that was kept, and raise whether it is finite or not."""
        device = self.values.device
        theta, velocity, total = (tensors[n].to(device) for n in ("theta", "velocity", "total"))
        before = _At(theta, velocity, total, step=meta["steps"])
        k, epoch = meta["expert"], meta["epoch"]
        if next(self._steps(k, epoch, before, tensors)).is_finite:
            raise FiniteThisTime(f"step {before.step} of epoch {epoch} of expert {k}")
        raise self._diverged(k, epoch, before, tensors)
