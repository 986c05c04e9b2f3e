"""What the two trajectory-matching methods have in common."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from decoct.matching.convnet_gradient import ConvNetGradient
from decoct.matching.loop import MatchingConfig, count_tapes
from decoct.methods.method import FLOAT, Method, Shared, shared
from decoct.methods.sizes import Sizes

_SEARCHED = 3 * 7  # experts x rates that the search for the first rate tries, roughly
_GRAPH = 4.0  # peak memory of a matching step / bytes of its activations, measured on a ConvNet


@dataclass(frozen=True)
class Matched(Method):
    """Synthetic images, learnt by matching the trajectories of experts."""

    synthetic = True

    matching: Shared[MatchingConfig] = shared(MatchingConfig)

    @property
    def parts(self) -> int:
        """The gradients of a step."""
        return self.matching.experts_per_step

    def training_batch(self) -> int:
        """The inner loop's batch, for which the set is made."""
        return self.matching.batch

    def inner_images(self, sizes: Sizes) -> tuple[float, float]:
        """Images in all inner steps of matching, and in those of the search for the first rate."""
        config = self.matching
        a_step = sizes.count / math.ceil(sizes.count / config.batch)  # mean: the last is smaller
        steps = config.inner_steps * a_step
        searched = 0.0 if config.inner_lr else _SEARCHED * steps
        return config.iterations * config.experts_per_step * steps, searched

    def memory(self, sizes: Sizes) -> Mapping[str, int]:
        """The learnt variables, and the inner loop forward and backward."""
        config, student = self.matching, sizes.student
        moments = 2 if config.optimiser == "adam" else 1
        learnt = sizes.count * (sizes.pixels + sizes.dimensions) * FLOAT
        batch = min(config.batch, sizes.count)
        step = int(_GRAPH * batch * sizes.activations(student, sizes.dimensions) * FLOAT)
        gradient = ConvNetGradient(sizes.network(student, sizes.dimensions))
        tapes = count_tapes(gradient, config, sizes.count, sizes.size)
        tapes *= gradient.tape_bytes(batch, sizes.size)
        path = (config.inner_steps + 1) * sizes.parameters(student, sizes.dimensions) * FLOAT
        return {
            # + last good, and a gradient for every expert of a step
            "what is learnt, and its optimiser": (2 + config.experts_per_step + moments) * learnt,
            f"unroll of {config.inner_steps} steps": step + tapes + path,
        }
