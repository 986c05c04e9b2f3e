"""Who labels views: an assistant, the teacher, or nobody; then a view has its image's target."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from decoct.core.place import Place
from decoct.methods.inputs import Inputs

Labels = Literal["assistant", "teacher", "image"]  # image: its own target
Label = Callable[[Tensor, Tensor], Tensor]  # of views B x C x H x W in [0, 1], rows B: B x D


def needed_by(labels: Labels) -> tuple[str, ...]:
    """The stage that makes the labeller.

    >>> needed_by("teacher"), needed_by("image")
    (('teacher',), ())
    """
    return () if labels == "image" else (labels,)


def labeller(labels: Labels, inputs: Inputs, place: Place) -> Label:
    """The function that labels views, given the rows of their images in `inputs.images`."""
    targets = inputs.targets
    if labels == "assistant":
        assistant = inputs.assistant
        return lambda views, rows: assistant.label(views)
    if labels == "image":
        return lambda views, rows: targets.values[rows]
    teacher, images = inputs.teacher, inputs.images

    def ask(views: Tensor, rows: Tensor) -> Tensor:
        pixels = replace(images, pixels=(views * 255).round().to(torch.uint8), labels=None)
        return targets.of(teacher.embed(pixels, device=place.device))

    return ask
