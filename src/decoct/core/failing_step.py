"""A step whose numbers are not finite: where that begins, and the state before it, to repeat it."""

import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.module_tracker import ModuleTracker

from decoct.core import checkpoint, seeding
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.core.place import FAILING_STEP, STATE

_FAILING, _DRAWS = "failing", "draws"
_PACKAGE = str(Path(__file__).parents[1])


class FiniteThisTime(DecoctError):
    """A kept step was repeated, and its numbers are finite: the fault was not the recipe's."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all floating-point numbers are finite; on a GPU it waits once, not for each tensor.

    >>> all_finite([torch.ones(2), torch.tensor([1])]), all_finite([torch.tensor([1.0, math.nan])])
    (True, False)
    """
    numbers = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
    return bool(get_total_norm(numbers, math.inf).isfinite()) if numbers else True


def retried(go_on: Callable[[], int | None], *, back: Callable[[], None], label: str) -> int | None:
    """Iterate to the end, from the last good state once more where an iteration is not finite.

    `go_on` returns such an iteration, and `back` undoes it. Returns one that is not finite twice.
    """
    suspect = None
    while (failed := go_on()) is not None and failed != suspect:
        note(f"{label}: not finite at iteration {failed}; trying again from before it")
        suspect = failed
        back()
    return failed


def is_kept(meta: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's meta is that of a kept step: then only this step is to be repeated."""
    return _FAILING in meta


def keep(
    state: Path | None,
    tensors: Mapping[str, Tensor],
    *,
    meta: Mapping[str, Any],
    step: str,
    where: str,
) -> str:
    """Keep the state before a step beside a stage's checkpoint; says so, for an error or a note.

    Only a stage's step is kept, since the recipe says what else it was made from.
    """
    said = f"{step}: {where}" if where else step
    if state is None or state.name != STATE:  # of no stage, or being repeated
        return said
    file = state.with_name(FAILING_STEP)
    checkpoint.save(file, tensors, meta={**meta, _FAILING: {"step": step, "where": where}})
    return f"{said}; decoct replay {file} repeats it from the state before it"


def with_draws(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state's tensors with those of torch's global generators."""
    return {**tensors, **{f"{_DRAWS}.{k}": v for k, v in seeding.generator_states().items()}}


def restore_draws(tensors: Mapping[str, Tensor]) -> None:
    """Set torch's global generators to what `with_draws` added, if it did."""
    start = f"{_DRAWS}."
    seeding.restore_generators(
        {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    )


def where_not_finite(step: Callable[[], object]) -> str:
    """Take a step, looking at each operation: which of them first made numbers that are not finite.

    Empty if none did. It takes several times as long as the step. What `torch.compile` has compiled
    runs uncompiled.

    >>> where_not_finite(lambda: torch.zeros(2).log()).split(", ")[0]
    'log gives the first number that is not finite'
    """
    with torch.compiler.set_stance("force_eager"), ModuleTracker() as tracker:
        watch = _Watch(tracker)
        with watch:
            step()
    return watch.found


class _Watch(TorchDispatchMode):
    """Remembers the first operation that made, of finite numbers, some that are not."""

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has not typed it
        self.tracker, self.found = tracker, ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        given = tree_leaves((args, kwargs))
        made_here = func.namespace != "c10d"  # or another rank has made them, and says where
        suspect = not self.found and made_here and "empty" not in name and _has_numbers(given)
        suspect = suspect and _finite(given)
        result = func(*args, **kwargs)
        # of an operation in place, what it was given has changed
        if suspect and not (_finite(tree_leaves(result)) and _finite(given)):
            self.found = self._said(name)
        return result

    def _said(self, name: str) -> str:
        layer = max(self.tracker.parents - {"Global"}, key=len, default="")
        of = f" of {layer}" if layer else ""
        on_the_way_back = " on the way back" if self.tracker.is_bw else ""
        said = f"{name}{of}{on_the_way_back} gives the first number that is not finite"
        own = [f for f in traceback.extract_stack()[:-2] if f.filename.startswith(_PACKAGE)]
        own = [f for f in own if f.filename != __file__]
        return f"{said}, in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else said


def _has_numbers(values: Iterable[Any]) -> bool:
    return any(isinstance(v, Tensor) and v.is_floating_point() for v in values)


def _finite(values: Iterable[Any]) -> bool:
    values = list(values)
    scalars = all(math.isfinite(v) for v in values if isinstance(v, float))
    return scalars and all_finite(v for v in values if isinstance(v, Tensor))
