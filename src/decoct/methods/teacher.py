"""The teacher itself as an encoder: only a reference, because it is a different, larger network."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.artefacts.encoder import Encoder
from decoct.core.place import Place
from decoct.methods.inputs import Inputs
from decoct.methods.method import Method


@dataclass(frozen=True)
class Teacher(Method):
    """A reference: the network that the students learn from."""

    name: ClassVar[str] = "teacher"
    summary: ClassVar[str] = "the teacher itself"
    makes_set: ClassVar[bool] = False
    keeps_encoder: ClassVar[bool] = False
    another_network: ClassVar[bool] = True

    def needs(self) -> tuple[str, ...]:
        """The teacher."""
        return ("teacher",)

    def pretrain(self, inputs: Inputs, place: Place) -> Encoder:
        """The teacher, unchanged."""
        return inputs.teacher
