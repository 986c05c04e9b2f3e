"""The units of work that need a whole recipe: embedding by its teacher, and probing."""

from functools import partial

import torch

from decoct.artefacts.encoder import Encoder
from decoct.core import seeding
from decoct.data.images import Images
from decoct.evaluation.probe import ProbeConfig, probe_accuracies
from decoct.evaluation.target_probe import MOST_KNOWN
from decoct.methods.method import total
from decoct.methods.sizes import Sizes
from decoct.methods.units import Action, Bench, Unit, training_step
from decoct.models.registry import NetworkConfig, create_network
from decoct.models.timm_network import timm_input, timm_network
from decoct.run.recipe import Recipe
from decoct.training.pretrained import load_teacher

_EMBEDDED = 32  # images at a time
_BATCH = 256  # of a step, a third of whose time is a forward pass


def embedding(recipe: Recipe) -> Unit:
    """An image's representation by the teacher, or by a network like it."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        teacher, images = stand_in_teacher(recipe), bench.images(_EMBEDDED)
        return partial(teacher.embed, images, device=bench.device), _EMBEDDED

    return Unit("embedding", recipe.teacher, prepare)


def stand_in_teacher(recipe: Recipe) -> Encoder:
    """The teacher or, if it is yet to be trained or downloaded, a network of its architecture."""
    config, size, channels = recipe.teacher, recipe.images.size, recipe.images.channels
    draws = seeding.generator(0, "estimate", "images")
    noise = torch.randint(256, (2, channels, size, size), generator=draws, dtype=torch.uint8)
    images = Images.from_array(noise)
    if not config.train and not config.source.startswith("timm:"):
        source = recipe.source(config.source)
        return load_teacher(
            source, images=images, network=config.ssl.network, size=config.size or None
        )
    network = config.ssl.network
    if config.train:
        with seeding.seeded(0, "estimate", "network"):
            model = create_network(network, channels=channels, size=size, outputs=1)
    else:
        network = NetworkConfig(name=recipe.source(config.source))
        name = network.name.partition(":")[2]
        size = config.size or timm_input(name).size
        model = timm_network(name, channels=channels, outputs=1, size=size)
    model.remove_head()
    return Encoder(network=model, config=network, size=size, mean=images.mean, std=images.std)


def fitting(config: ProbeConfig, network: NetworkConfig, sizes: Sizes) -> dict[Unit, float]:
    """All probes on one encoder: its features, and fits whose time grows with the labels."""
    found: dict[Unit, float] = {}
    for task in filter(None, sizes.tasks):
        labelled = [fraction * task.train for fraction in config.fractions]
        labelled += [count * task.classes for count in config.per_class]
        features = {training_step(network, _BATCH): (task.train + task.test) / 3}
        fits = {_fit(config, network, task.classes): sum(labelled)}
        found = total(found, features, fits)
    return found


def judging(network: NetworkConfig, sizes: Sizes) -> dict[Unit, float]:
    """The features by which one encoder is judged without labels."""
    embedded = min(sizes.images, MOST_KNOWN) + sizes.pool - sizes.images
    return {training_step(network, _BATCH): embedded / 3}


def _fit(config: ProbeConfig, network: NetworkConfig, classes: int) -> Unit:
    """One labelled example, of every draw of a probe."""

    def prepare(bench: Bench) -> tuple[Action, float]:
        features = bench.network(network, 1).feature_count
        labels = torch.arange(20 * classes) % classes
        x = torch.randn(
            len(labels), features, generator=seeding.generator(0, "estimate", "features")
        )
        action = partial(
            probe_accuracies,
            x,
            labels,
            torch.arange(len(labels)).expand(config.draws, -1),
            x,
            labels,
            classes=classes,
            protocol=config.protocol,
        )
        return action, len(labels)

    return Unit("fit", (config.protocol, config.draws, network, classes), prepare)
