"""The six objectives: what they are measured on, and that each is the loss of its name."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parameters_to_vector

from decoct.artefacts.targets import Targets
from decoct.core import seeding
from decoct.data.augment import differentiable_augmenter
from decoct.data.images import Images
from decoct.data.tasks import Task
from decoct.models.convnet import convnet
from decoct.studies.variance import objectives
from decoct.studies.variance.objectives import NAMES, choose_pictures, labelled_rows, make_problem
from decoct.training.objective import SSL_LOSSES, Objective


def pool(task: Task, others: Images) -> tuple[Images, Targets]:
    """The task's training images in reverse order, one of them twice, and others."""
    mine = task.train.pixels.flip(0)
    images = Images.from_array(torch.cat([mine[:30], others.pixels, mine[30:], mine[:1]]))
    values = torch.arange(float(len(images)))[:, None].expand(-1, 2)
    return images, Targets(values, torch.zeros(2), torch.zeros(0, 0), torch.ones(2))


def test_labelled_rows_are_found_by_their_pixels(tiny_task: Task, tiny_images: Images) -> None:
    images, _ = pool(tiny_task, tiny_images)
    rows, labels = labelled_rows(images, tiny_task)
    assert rows.tolist() == [*range(30), *range(70, 100)]  # the one that is there twice, once
    assert torch.equal(labels, tiny_task.train_labels.flip(0))
    assert torch.equal(images.pixels[rows], tiny_task.train.pixels.flip(0))


def test_all_are_measured_on_the_rows_that_have_labels(
    tiny_task: Task, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "_ENOUGH", 60)
    images, targets = pool(tiny_task, tiny_images)
    found = choose_pictures(images=images, targets=targets, task=tiny_task)
    assert found.notes == () and found.labelled is found.images
    assert torch.equal(found.images.pixels[found.targets[:, 0] == 71], images.pixels[71:72])
    problems = [make_problem(name, found, objective=Objective()) for name in NAMES]
    assert len({id(p.images) for p in problems}) == 1
    assert all(len(p.values) == 60 for p in problems)


def test_too_few_labels_in_the_pool_are_said_to_be(tiny_task: Task, tiny_images: Images) -> None:
    images, targets = pool(tiny_task, tiny_images)
    found = choose_pictures(images=images, targets=targets, task=tiny_task)
    assert found.images is images and found.labelled is not None
    assert torch.equal(found.labelled.pixels, tiny_task.train.pixels)
    assert torch.equal(found.labelled.mean, images.mean)
    assert "which contains only 60 of these images" in found.notes[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_loss_of_its_name(
    name: objectives.Name, tiny_task: Task, tiny_targets: Targets
) -> None:
    pictures = objectives.Pictures(
        tiny_task.train,
        torch.randn(60, 4, generator=torch.Generator().manual_seed(0)),
        tiny_task.train,
    )
    problem = make_problem(name, pictures, objective=Objective(projector=6))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = convnet(size=16, width=4, depth=2, outputs=problem.outputs)
    index = torch.tensor([0, 11, 30, 59])
    images, mean, std = problem.images.normalised(index), tiny_task.train.mean, tiny_task.train.std
    with seeding.seeded(0, "test"):
        if name == "distillation":
            expected = F.mse_loss(network(images), pictures.targets[index])
        elif name == "supervised":
            expected = F.cross_entropy(network(images), tiny_task.train_labels[index])
        else:
            views = differentiable_augmenter(Objective().augment, mean=mean, std=std, size=16)
            outputs = network(torch.cat([views(images), views(images)]))
            expected = SSL_LOSSES[name](*outputs.chunk(2))
    slope = torch.autograd.grad(expected, list(network.parameters()))
    theta = parameters_to_vector(network.parameters()).detach()
    with seeding.seeded(0, "test"), torch.no_grad():
        loss, gradient = problem.inner(network).gradient(theta, images, problem.values[index])
    assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
    flat = torch.cat([g.flatten() for g in slope])
    assert float((gradient - flat).norm()) < 1e-4 * float(flat.norm())
