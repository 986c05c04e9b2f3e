"""TensorBoard: one event file a run; `tensorboard --logdir RUN/logs/tensorboard` shows it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from decoct.core.extras import import_extra
from decoct.report.logs.logger import Start


class _TensorBoard:
    identity = ""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def scalars(self, stage: str, step: int, values: Mapping[str, float], *, time: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step, walltime=time)

    def picture(self, name: str, image: Image.Image) -> None:
        self._writer.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


def open_in(start: Start) -> _TensorBoard:
    """Event files in the folder, beside those of earlier commands."""
    import_extra("tensorboard", extra="tensorboard", package="tensorboard")
    module = import_extra("torch.utils.tensorboard", extra="tensorboard", package="tensorboard")
    writer = module.SummaryWriter(str(start.folder))
    if not start.identity:
        writer.add_text("recipe", f"```yaml\n{start.recipe}```")
    return _TensorBoard(writer)
