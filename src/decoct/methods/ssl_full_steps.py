"""Self-supervision on all images, for as many steps as training on a small set takes."""

from dataclasses import dataclass
from typing import ClassVar

from decoct.methods.ssl_full import SSLFull


@dataclass(frozen=True)
class SSLFullSteps(SSLFull):
    """What self-supervision on all images gives when time is short."""

    name: ClassVar[str] = "ssl-full-steps"
    summary: ClassVar[str] = "self-supervision on all images, for as many steps as a small set"
    as_many_steps_as: ClassVar[str] = SSLFull.name
