"""The stage table for one method and one seed: a set, an encoder, its scores."""

from collections.abc import Mapping
from dataclasses import asdict, astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

from decoct.artefacts.coding import CodingConfig, compact
from decoct.artefacts.distilled import DistilledSet
from decoct.artefacts.encoder import Encoder
from decoct.core import storage
from decoct.core.forms import typed, understood
from decoct.core.place import Place
from decoct.evaluation.label_free import LabelFreeRow, LabelFreeScores, label_free_scores
from decoct.evaluation.probe import ProbeScore, probe
from decoct.methods.inputs import Inputs, chooser, maker
from decoct.methods.method import Method, without_rule
from decoct.methods.sizes import Sizes
from decoct.methods.units import Unit
from decoct.run.recipe import Recipe
from decoct.run.stage import LEARNT, Artefact, Stage
from decoct.run.unit_costs import fitting, judging


def set_of(method: str, seed: int) -> str:
    """The stage that makes a method's set.

    >>> set_of("mkdt", 0)
    'mkdt-seed0'
    """
    return f"{method}-seed{seed}"


def encoder_of(method: str, seed: int) -> str:
    """The stage that pre-trains a method's encoder."""
    return f"encoder-{set_of(method, seed)}"


def probe_of(method: str, seed: int) -> str:
    """The stage that probes a method's encoder."""
    return f"probe-{set_of(method, seed)}"


def label_free_of(method: str, seed: int) -> str:
    """The stage that measures what a method's encoder is worth without labels."""
    return f"label-free-{set_of(method, seed)}"


def method_stages(recipe: Recipe, name: str, seed: int) -> list[Stage[Any]]:
    """A method's set (if it makes one), its encoder, and the encoder's scores."""
    method = recipe.configured(name)
    sets = [_set(recipe, method, seed)] if method.makes_set else []
    encoder = _encoder(recipe, method, seed)
    return [*sets, encoder, _probe(recipe, method, seed), _label_free(recipe, method, seed)]


def _needed(method: Method, seed: int) -> dict[str, str]:
    """The stages that a method needs, by the names that it uses for them."""
    return {
        need: set_of(other, seed)
        if (other := chooser(need) or maker(need))
        else LEARNT.get(need, need)
        for need in method.needs()
    }


def _size(recipe: Recipe, method: Method) -> tuple[float, ...]:
    """The settings that determine the size of a method's set; none if it takes all images."""
    return () if method.own_length() else (recipe.size, recipe.fraction)


def _set(recipe: Recipe, method: Method, seed: int) -> Stage[DistilledSet]:
    needed = _needed(method, seed)
    coded = () if recipe.coding == CodingConfig() else (recipe.coding,)

    def make(inputs: Inputs, place: Place) -> DistilledSet:
        found = compact(method.make(inputs, place), recipe.coding)
        if found.index is None:
            return found
        kept, _ = inputs.get("split")  # rows of the training images; users count rows in the pool
        return replace(found, index=kept[found.index])

    load_own = partial(DistilledSet.load, trusted=True)  # the recipe says which networks

    def save(distilled: DistilledSet, path: Path) -> None:
        distilled.save(path, uint8=distilled.views is not None)  # then the pixels are real

    return Stage(
        name=set_of(method.name, seed),
        inputs=tuple(dict.fromkeys([*needed.values(), "split"])),
        aliases=needed,
        settings=(method.name, method, _size(recipe, method), seed, *coded),
        choice=(method.name, without_rule(method), _size(recipe, method), seed),
        make=make,
        artefact=Artefact("distilled.safetensors", "distilled", load_own, save),
        work=method.work,
        memory=method.memory,
        networks=method.networks,
        check=method.check,
        sort=f"distilling ({method.name})" if method.synthetic or method.proposed else method.name,
        seed=seed,
        given=lambda sizes: {"count": sizes.count, "seed": seed},
        parts=method.parts,
    )


def _encoder(recipe: Recipe, method: Method, seed: int) -> Stage[Encoder]:
    pretraining = recipe.pretraining(method.name)
    own = {"distilled": set_of(method.name, seed)} if method.makes_set else _needed(method, seed)
    settings: tuple[object, ...] = (pretraining, seed)
    if not method.makes_set:
        settings = (method.name, method, _size(recipe, method), *settings)
    if method.another_network:
        settings = astuple(method)
    return Stage(
        name=encoder_of(method.name, seed),
        inputs=tuple(own.values()),
        aliases=own,
        settings=settings,
        make=method.pretrain,
        artefact=Artefact(
            "encoder.safetensors", "encoder", partial(Encoder.load, trusted=True), Encoder.save
        )
        if method.keeps_encoder
        else None,
        work=partial(method.pretraining_work, pretraining=pretraining),
        networks=lambda dimensions: ((pretraining.network, dimensions),),
        check=method.check,
        sort="pre-training",
        seed=seed,
        given=lambda sizes: {
            "count": sizes.count,
            "seed": seed,
            "pretraining": pretraining,
            "steps": method.steps(sizes, pretraining),
        },
        parts=method.training_batch(),
    )


def read_probe(path: Path) -> list[ProbeScore]:
    """One encoder's scores, from its file; those of earlier versions have none by class."""
    with understood(path):
        found: list[ProbeScore] = typed(
            storage.load_json(path, kind="probe")["scores"], list[ProbeScore]
        )
        return found


def _probe(recipe: Recipe, method: Method, seed: int) -> Stage[list[ProbeScore]]:
    encoder = encoder_of(method.name, seed)

    def make(inputs: Inputs, place: Place) -> list[ProbeScore]:
        found: list[ProbeScore] = []
        judged = inputs.encoder
        for task in inputs.tasks:
            found += probe(
                encoder=judged, task=task, config=recipe.probe, seed=seed, device=place.device
            )
        return found

    def save(scores: list[ProbeScore], path: Path) -> None:
        storage.save_json(path, {"scores": [asdict(s) for s in scores]}, kind="probe")

    def work(sizes: Sizes) -> Mapping[Unit, float]:
        return fitting(recipe.probe, recipe.pretrain.network, sizes)

    return Stage(
        name=probe_of(method.name, seed),
        inputs=(encoder, "tasks"),
        aliases={"encoder": encoder},
        settings=(recipe.probe, seed),
        make=make,
        artefact=Artefact("probe.json", "probe", read_probe, save),
        work=work,
        sort="probing",
        seed=seed,
        version=2,
    )


def _label_free(recipe: Recipe, method: Method, seed: int) -> Stage[LabelFreeScores]:
    encoder = encoder_of(method.name, seed)

    def make(inputs: Inputs, place: Place) -> LabelFreeScores:
        known, left_out = inputs.get("split")
        found = label_free_scores(
            encoder=inputs.encoder,
            images=inputs.get("images"),
            targets=inputs.targets,
            known=known,
            left_out=left_out,
            seed=seed,
            device=place.device,
        )
        row = LabelFreeRow(method=method.name, seed=seed, **asdict(found))
        return LabelFreeScores((row,), left_out=len(left_out))

    return Stage(
        name=label_free_of(method.name, seed),
        inputs=(encoder, "images", "targets", "split"),
        aliases={"encoder": encoder},
        settings=(seed,),
        make=make,
        artefact=Artefact(
            "label_free.json", "label-free", LabelFreeScores.load, LabelFreeScores.save
        ),
        work=partial(judging, recipe.pretrain.network),
        sort="judging without labels",
        seed=seed,
    )
