"""The scores without labels, by what must be true of them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets, TargetsConfig, compute_targets, fit_targets
from decoct.core.errors import DecoctError, DivergedError
from decoct.data.images import Images
from decoct.evaluation.label_free import label_free_scores, neighbour_agreement, rankme
from decoct.evaluation.target_probe import target_probe_error
from decoct.models.network import Network
from decoct.models.registry import NetworkConfig


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def rotation(size: int, seed: int = 7) -> Tensor:
    return torch.linalg.qr(noise(size, size, seed=seed))[0]


def entropy_of_singular_values(x: Tensor) -> Tensor:
    """The same by the eigenvalues of the Gram matrix."""
    values = torch.linalg.eigvalsh(x.mT @ x).clamp_min(0).sqrt()
    shares = values[values > 0] / values.sum()
    return -(shares * shares.log()).sum()


@pytest.mark.parametrize("count", [1, 3, 8])
def test_rankme_counts_orthonormal_directions(count: int) -> None:
    directions = rotation(8)[:count]
    assert rankme(directions) == pytest.approx(count)
    assert rankme(torch.cat([directions] * 5)) == pytest.approx(count)  # however many images


def test_rankme_of_one_direction_is_one() -> None:
    assert rankme(noise(20, 1) @ noise(1, 6)) == pytest.approx(1)
    assert rankme(torch.zeros(20, 6)) == 0


def test_rankme_is_the_exponential_of_the_entropy() -> None:
    x = noise(30, 6) * torch.logspace(0, 2, 6)
    expected = float(entropy_of_singular_values(x).exp())
    assert rankme(x) == pytest.approx(expected)
    assert 1 < rankme(x) < rankme(noise(30, 6)) < 6
    assert rankme(3 * x @ rotation(6)) == pytest.approx(expected)
    # Two directions, of which one is c times as strong
    assert rankme(torch.diag(torch.tensor([1.0, 3.0]))) == pytest.approx(4 / 3 ** (3 / 4))


def test_agreement_is_one_where_nothing_but_the_pose_differs() -> None:
    x = noise(60, 5)
    for same in (x, x @ rotation(5), 1e-3 * x, 1e4 * x @ rotation(5) + 3, x.float()):
        assert neighbour_agreement(same, x) == 1
    assert neighbour_agreement(x, torch.cat([x, x], 1)) == 1  # of other dimensions


def test_agreement_of_independent_features_is_chance() -> None:
    count = 400
    found = [
        neighbour_agreement(noise(count, 8, seed=2 * i), noise(count, 3, seed=2 * i + 1), k)
        for i, k in enumerate((10, 10, 40))
    ]
    chance = [k / (count - 1) for k in (10, 10, 40)]
    assert found == pytest.approx(chance, abs=0.01)


def test_agreement_is_the_shared_neighbours_counted_one_by_one() -> None:
    x = noise(23, 4)
    y = x + noise(23, 4, seed=1)

    def nearest(points: Tensor, i: int) -> set[int]:
        centred = points - points.mean(0)
        others = [j for j in range(len(points)) if j != i]
        likeness = {
            j: float(torch.cosine_similarity(centred[i], centred[j], dim=0)) for j in others
        }
        return set(sorted(others, key=likeness.__getitem__)[-5:])

    shared = [len(nearest(x, i) & nearest(y, i)) / 5 for i in range(23)]
    assert neighbour_agreement(x, y, 5) == pytest.approx(sum(shared) / 23)
    assert neighbour_agreement(y, x, 5) == neighbour_agreement(x, y, 5)
    assert 10 / 22 < neighbour_agreement(x, y) < 1
    assert neighbour_agreement(x[:4], y[:4]) == 1  # all three others are neighbours in both


@pytest.fixture(scope="module")
def images() -> Images:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (90, 3, 4, 4), generator=draws, dtype=torch.uint8)
    return Images.from_array(pixels)


def linear_encoder(images: Images, features: int, seed: int) -> Encoder:
    layer = nn.Linear(48, features)
    with torch.no_grad():
        layer.weight.copy_(noise(features, 48, seed=seed))
    network = Network(nn.Sequential(nn.Flatten(), layer), features=features, outputs=1)
    return Encoder(
        network=network.eval(), config=NetworkConfig(), size=4, mean=images.mean, std=images.std
    )


class Counting(Encoder):
    """An encoder that remembers the images it was shown."""

    def embed(self, images: Images, **more: Any) -> Tensor:
        seen.append(len(images))
        return super().embed(images, **more)


seen: list[int] = []
ROWS = torch.arange(90)
SPLIT = {"known": ROWS[:60], "left_out": ROWS[60:]}


def test_three_scores_of_images_embedded_once(images: Images) -> None:
    encoder = Counting(**vars(linear_encoder(images, 6, seed=1)))
    targets = fit_targets(noise(90, 3).float(), TargetsConfig())
    seen.clear()
    found = label_free_scores(encoder=encoder, images=images, targets=targets, seed=2, **SPLIT)
    assert seen == [60, 30]
    features = encoder.embed(images)[60:]
    assert found.error == target_probe_error(
        encoder=encoder, images=images, targets=targets, seed=2, **SPLIT
    )
    assert found.rankme == rankme(features)
    assert found.agreement == neighbour_agreement(features, targets.values[60:])


@pytest.mark.parametrize("config", [TargetsConfig(), TargetsConfig(components=5)])
def test_a_teacher_agrees_with_itself(config: TargetsConfig, images: Images) -> None:
    teacher, other = (linear_encoder(images, 5, seed=seed) for seed in (1, 2))
    targets = compute_targets(images=images, teacher=teacher, config=config)

    def of(encoder: Encoder, targets: Targets = targets) -> Any:
        return label_free_scores(encoder=encoder, images=images, targets=targets, **SPLIT)

    assert of(teacher).agreement == 1 and of(teacher).error < 1e-3
    assert of(other).agreement < 0.6 and of(other).error > 0.5
    doubled = linear_encoder(images, 5, seed=1)
    with torch.no_grad():
        doubled.network.body[1].weight[1:] = doubled.network.body[1].weight[:1]
    assert of(doubled).rankme < 2 < of(teacher).rankme


def test_what_cannot_be_scored_is_refused(images: Images) -> None:
    encoder = linear_encoder(images, 5, seed=1)
    targets = compute_targets(images=images, teacher=encoder)
    with pytest.raises(DecoctError, match="1 pool images are held out"):
        label_free_scores(
            encoder=encoder, images=images, targets=targets, known=ROWS, left_out=ROWS[:1]
        )
    with torch.no_grad():
        encoder.network.body[1].bias[0] = torch.nan
    with pytest.raises(DivergedError, match="not finite"):
        label_free_scores(encoder=encoder, images=images, targets=targets, **SPLIT)
