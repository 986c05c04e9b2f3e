"""How hard the experts find each image."""

import torch

from decoct.artefacts.targets import Targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core import ranks
from decoct.core.console import progress
from decoct.core.shapes import PerImage
from decoct.data.images import Images
from decoct.data.stream import stream
from decoct.models.registry import create_network


@torch.no_grad()  # not inference_mode: the trajectories cache what is read here
def difficulty(
    *,
    images: Images,
    targets: Targets,
    trajectories: Trajectories,
    device: torch.device | str = "cpu",
    batch: int = 1024,
) -> PerImage:
    """Each image's squared error after epoch 1, mean over dimensions and experts: N, on the CPU.

    The paper initialises the set with the images that students find hardest (section 5.2). Ranks
    divide the images.
    """
    device = torch.device(device)
    images, values = images.to(device), targets.values.to(device)
    network = create_network(
        trajectories.network,
        channels=images.channels,
        size=images.size,
        outputs=targets.dimensions,
    ).to(device)
    total = torch.zeros(len(images), device=device)
    with progress("difficulty, experts", total=len(trajectories)) as advance:
        for k in range(len(trajectories)):
            torch.nn.utils.vector_to_parameters(
                trajectories.expert(k)[1].to(device), network.parameters()
            )
            batches = ranks.share(torch.arange(len(images)).split(batch))
            for index, pictures in stream(images, batches, device=device):
                error = network(pictures) - values[index]
                total[index] += error.square().mean(1)
            advance("")
    mean = (total / len(trajectories)).cpu()
    own = [mean[index] for index in ranks.share(torch.arange(len(images)).split(batch))]
    return ranks.batches_in_order(own, total=len(images), batch=batch, row=mean.new_zeros(()))
