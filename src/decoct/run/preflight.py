"""Refuse what cannot work before hours are spent on it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decoct.artefacts.distilled import resolve_size
from decoct.artefacts.targets import read_representations
from decoct.core import seeding
from decoct.core.console import note
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.data.tasks import Task, labelled_indices
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig, create_network
from decoct.run.recipe import Recipe
from decoct.run.sizes import disk_warning


def check_run(recipe: Recipe, *, images: Images, tasks: Sequence[Task], folder: Path) -> None:
    """Raise `DecoctError` for what would stop a run of `recipe` in `folder` only at a late stage.

    That is: a distilled size that the pool cannot give, or self-supervision on one image; a task
    with a class of fewer images than labels are asked for; tasks of one name; targets that are not
    one an image; networks that cannot take the images; more principal components than there are
    dimensions. Says so where the disk is too small for the trajectories. It takes a second or two.
    """
    learnt_from = len(images) - recipe.images.left_out(len(images))
    count = resolve_size(size=recipe.size, fraction=recipe.fraction, total=learnt_from)
    if count < 2 and not {"ssl-random", "mtt-ssl"}.isdisjoint(recipe.compare.methods):
        raise DecoctError("self-supervision compares images: a set of 1 is too small for it")
    _check_tasks(recipe, tasks)
    dimensions = _check_targets(recipe, images)
    experts = recipe.experts.network
    student = _network(experts, images, recipe.targets.components or dimensions or 1)
    _network(recipe.pretrain.network, images, 1)
    if "views" in (*recipe.compare.methods, recipe.method) and recipe.views.labels == "assistant":
        _network(recipe.assistant.network, images, 1)
    if "krr-st" in recipe.compare.methods:
        _network(recipe.krr_st.network, images, 1)
    students = [student]
    if "mtt-ssl" in recipe.compare.methods:
        students.append(_network(experts, images, recipe.mtt_ssl.objective.projector))
    parameters = sum(p.numel() for network in students for p in network.parameters())
    warning = disk_warning(recipe, parameters, folder)
    if warning:
        note(warning)


def _check_tasks(recipe: Recipe, tasks: Sequence[Task]) -> None:
    """How many examples a class has does not depend on the seed or the draw: one is enough."""
    names = Counter(task.name for task in tasks)
    for name, count in names.items():
        if count > 1:
            raise DecoctError(
                f"{count} tasks are called {name}: their scores would be mixed up; rename a file"
            )
    for task in tasks:
        for fraction in recipe.probe.fractions:
            labelled_indices(task, fraction=fraction, seed=recipe.seed)
        for per_class in recipe.probe.per_class:
            labelled_indices(task, per_class=per_class, seed=recipe.seed)


def _check_targets(recipe: Recipe, images: Images) -> int:
    """The dimensions of the representations; 0 where only the teacher, once it is here, can say."""
    config = recipe.targets
    if config.source:
        source = recipe.source(config.source)
        count, dimensions = read_representations(Path(source)).shape
        if count != len(images):
            raise DecoctError(
                f"{source} gives {count} targets for {len(images)} images; they must be in the "
                "same order, one each"
            )
    elif recipe.teacher.train:
        dimensions = _network(recipe.teacher.ssl.network, images, 1).feature_count
    else:
        return 0
    if config.components > min(dimensions, len(images)):
        raise DecoctError(
            f"targets.components is {config.components}, but the representations of "
            f"{len(images)} images have {dimensions} dimensions"
        )
    return dimensions


def _network(config: NetworkConfig, images: Images, outputs: int) -> Network:
    """The network as a stage would create it; leaves torch's random numbers as they were."""
    with seeding.seeded(0, "preflight"):
        return create_network(config, channels=images.channels, size=images.size, outputs=outputs)
