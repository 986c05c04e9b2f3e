"""The iterations of the matching loop, with a way back from numbers that are not finite."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from decoct.core import failing_step, ranks
from decoct.core.console import note, progress
from decoct.core.errors import DivergedError, Terminated
from decoct.core.failing_step import FiniteThisTime
from decoct.core.metrics import Metrics
from decoct.matching.synthetic import Synthetic
from decoct.matching.unroll import MatchingGradient


@dataclass(frozen=True)
class Iterations:
    """Steps of a synthetic set down the gradient at the state that it is in."""

    synthetic: Synthetic
    gradient: Callable[[], MatchingGradient]
    total: int
    checkpoint_every: int
    label: str
    state: Path | None
    log: Metrics

    def to_the_end(self) -> None:
        """Run the remaining iterations, or stop at one that is not finite twice."""
        back = self.synthetic.back_to_last_good
        failed = failing_step.retried(self._go_on, back=back, label=self.label)
        if failed is not None:
            self._stop(failed)

    def _go_on(self) -> int | None:
        """Iterate up to an iteration that is not finite, which is returned, or to the end."""
        learnt, done = self.synthetic, self.synthetic.iterations
        with progress(f"{self.label}, iterations", total=self.total, done=done) as advance:
            for iteration in range(done, self.total):
                try:
                    gradient = self.gradient()
                except (KeyboardInterrupt, Terminated, RuntimeError):  # the last if a rank is gone
                    if iteration > done:  # the state whose loss is known to be finite
                        learnt.back_to_last_good()
                        learnt.save(self.state)
                    raise
                if not _is_finite(gradient):
                    return iteration
                if iteration > done and iteration % self.checkpoint_every == 0:
                    learnt.save(self.state)  # before the step: this state is known to be good
                learnt.step(gradient)
                if not learnt.is_finite():
                    return iteration
                values = {name: values[-1] for name, values in learnt.history.items()}
                self.log.write(iteration=iteration, **values)
                advance(f"loss {values['loss']:.4f}, lr {values['lr']:.3f}")
        return None

    def repeat(self) -> None:
        """Take the iteration that was kept, and raise whether it is finite or not."""
        iteration = self.synthetic.iterations
        if self._iterate():
            raise FiniteThisTime(f"iteration {iteration}")
        raise DivergedError(f"{self.label} is not finite ({self._keep(iteration)})")

    def _iterate(self) -> bool:
        """Take a step if its gradient is finite; returns whether all is."""
        gradient = self.gradient()
        if _is_finite(gradient):
            self.synthetic.step(gradient)
        return _is_finite(gradient) and self.synthetic.is_finite()

    def _stop(self, iteration: int) -> None:
        """Go back to the last good state; raise if there is none, because nothing was learnt."""
        what, lower = "loss", "inner_lr"
        if self.synthetic.iterations > iteration:
            what, lower = "step", "lr_images, matching.lr_targets or matching.lr_log_lr"
        said = self._keep(iteration)
        if iteration == 0:
            raise DivergedError(
                f"the first matching {what} is not finite; lower matching.{lower} ({said})"
            )
        note(f"{self.label}: not finite again; kept the set before it ({said})")

    def _keep(self, iteration: int) -> str:
        """Keep the state before an iteration, say so, and go back to the last good state."""
        learnt = self.synthetic
        if learnt.iterations > iteration:  # its gradient was finite, but not the step
            learnt.back_to_last_good(done=iteration)
        before, history = copy.deepcopy((learnt.tensors(), learnt.history))
        found = ranks.all_say(failing_step.where_not_finite(self._iterate))
        where = next(filter(None, found), "")  # with several ranks it is in one's gradient
        if learnt.stands_still:
            where = "the learnt rate falls to 0; lower matching.lr_log_lr"
        step = f"iteration {iteration}"
        said = failing_step.keep(self.state, before, meta=history, step=step, where=where)
        learnt.back_to_last_good(done=iteration)
        return said


def _is_finite(gradient: MatchingGradient) -> bool:
    return failing_step.all_finite(vars(gradient).values())
