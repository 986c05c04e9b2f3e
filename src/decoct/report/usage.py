"""How to use what a run made: where its files lie, and the lines that read them."""

from pathlib import Path

from decoct.report.contents import Contents
from decoct.report.story import own_set

_ENCODER = """\
import decoct

encoder = decoct.Encoder.load({path!r})
pictures = decoct.load_images({source!r}, size=encoder.size, channels={channels})
features = encoder.embed(pictures, device="cpu")  # a row for each picture
"""
_SET = """\
import decoct
import torch
from torch.utils.data import DataLoader, RandomSampler

distilled = decoct.load_distilled({path!r})
steps, batch = 480, distilled.rule.batch
shuffled = RandomSampler(distilled, num_samples=steps * batch)
loader = DataLoader(distilled, batch_size=batch, sampler=shuffled)

head = torch.nn.LazyLinear(distilled.dimensions)
network = torch.nn.Sequential(my_body, torch.nn.Flatten(), head)  # my_body: your own network
network(next(iter(loader))[0])  # gives the head its shape, which the optimiser needs
optimiser = decoct.Optimiser(distilled.rule, network.parameters(), steps=steps)
for images, targets in loader:
    optimiser.step(torch.nn.functional.mse_loss(network(images), targets))
"""


def usage(contents: Contents) -> list[tuple[str, str, str]]:
    """For each file that can be used: what it is, its path, and lines of Python."""
    found, own = [], own_set(contents)
    if (path := contents.files.get("encoder")) and contents.encoder:
        code = _ENCODER.format(
            path=_said(path), source="photos", channels=contents.encoder.channels
        )
        found.append(("The encoder, to get features of pictures", _said(path), code))
    if (path := contents.files.get("distilled")) and own and own.has_targets:
        code = _SET.format(path=_said(path))
        found.append(("The set, to train a network of your own", _said(path), code))
    return found


def _said(path: Path) -> str:
    """A path as it is written from the working directory, if it lies there."""
    here = Path.cwd()
    inside = path.is_absolute() and path.is_relative_to(here)
    return str(path.relative_to(here) if inside else path)
