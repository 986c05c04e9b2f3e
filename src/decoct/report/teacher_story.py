"""Who the teacher was: a sentence, and its losses if it was trained in this run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decoct.artefacts.encoder import Encoder


@dataclass(frozen=True)
class TeacherStory:
    """What a report says about the teacher."""

    text: str = ""
    losses: tuple[float, ...] = ()  # by epoch


def teacher_story(recipe: Mapping[str, Any], trained: Encoder | None) -> TeacherStory:
    """By the recipe as read from its file, and the teacher that this run trained, if it did.

    >>> teacher_story({"teacher": {"source": "timm:resnet18"}}, None).text
    'The teacher was brought along: resnet18, from timm. So it has no curve here.'
    """
    if trained is not None:
        return _trained(trained)
    teacher, targets = (recipe.get(name) or {} for name in ("teacher", "targets"))
    if file := targets.get("source"):
        return TeacherStory(f"The targets were brought along: {file}. So no teacher has a curve.")
    source = str(teacher.get("source", ""))
    if not source or teacher.get("train"):
        return TeacherStory()
    if source == "embedded":
        return TeacherStory(
            "The teacher is the one in the box, a small ResNet-10 that has seen only emoji. It was "
            "not trained in this run, so it has no curve here."
        )
    library, _, name = source.partition(":")
    said = f"{name}, from timm" if library == "timm" else source
    return TeacherStory(f"The teacher was brought along: {said}. So it has no curve here.")


def _trained(teacher: Encoder) -> TeacherStory:
    losses = tuple(teacher.provenance.get("losses", ()))
    algorithm = (teacher.provenance.get("config") or {}).get("algorithm", "self-supervision")
    epochs = f" for {len(losses)} epochs" if len(losses) > 1 else ""
    network = f"a {teacher.config.name} of width {teacher.config.width}"
    by = str(algorithm).replace("_", " ")
    return TeacherStory(f"The teacher was trained here, by {by}{epochs}: {network}.", losses)
