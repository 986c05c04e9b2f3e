"""Self-supervision on all images."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.data.images import Images
from decoct.methods.inputs import Inputs
from decoct.methods.ssl_random import SSLRandom


@dataclass(frozen=True)
class SSLFull(SSLRandom):
    """What self-supervision on all images gives without a teacher."""

    name: ClassVar[str] = "ssl-full"
    summary: ClassVar[str] = "self-supervision on all images, without a teacher"
    whole_pool: ClassVar[bool] = True

    @property
    def epochs(self) -> int:
        """Its own number of epochs."""
        return self.ssl.full_epochs

    def images(self, inputs: Inputs) -> Images:
        """All."""
        return inputs.images
