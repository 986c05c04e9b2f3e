"""The affine map of the targets is a standardisation and a PCA, and bad files are refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import sklearn.decomposition
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import (
    Targets,
    TargetsConfig,
    compute_targets,
    fit_targets,
    read_representations,
)
from decoct.core.errors import DecoctError
from decoct.data.images import Images
from decoct.models.registry import NetworkConfig, create_network


def representations(count: int = 60, features: int = 7, seed: int = 0) -> Tensor:
    """Correlated, of very different scales, not centred."""
    draws = torch.Generator().manual_seed(seed)
    mix = torch.randn(features, features, generator=draws) * torch.logspace(1, -1, features)
    return torch.randn(count, features, generator=draws) @ mix + 5


def write(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, features=array)
    else:
        safetensors.torch.save_file({"features": torch.from_numpy(array)}, path)
    return path


FORMATS = pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])


# The map


@pytest.mark.parametrize("shape", [(60, 7), (10, 30)])
def test_components_are_scikit_learns_up_to_sign(shape: tuple[int, int]) -> None:
    x = representations(*shape)
    got = fit_targets(x, TargetsConfig(components=4, scaling="none")).values
    expected = sklearn.decomposition.PCA(4, svd_solver="full").fit_transform(x.double().numpy())
    for column in range(4):
        a, b = got[:, column].numpy(), expected[:, column]
        assert min(np.abs(a - b).max(), np.abs(a + b).max()) < 1e-4 * np.abs(b).max()


def test_components_with_unit_variance_are_whitened() -> None:
    values = fit_targets(
        representations(), TargetsConfig(components=5, scaling="dimension")
    ).values.double()
    assert torch.allclose(values.T @ values / len(values), torch.eye(5).double(), atol=1e-5)


def test_the_sign_of_a_component_does_not_depend_on_the_solver() -> None:
    # Flipping the sign of all representations flips the targets, never single columns.
    x, config = representations(), TargetsConfig(components=3)
    one, other = fit_targets(x, config), fit_targets(-x, config)
    assert torch.allclose(one.rotation, other.rotation, atol=1e-5)
    assert torch.allclose(one.values, -other.values, atol=1e-4)


@pytest.mark.parametrize("scaling", ["none", "overall", "dimension"])
def test_a_single_component_is_kept_and_found_again(scaling: Any, tmp_path: Path) -> None:
    config = TargetsConfig(components=1, scaling=scaling)
    targets = fit_targets(representations(), config)
    targets.save(tmp_path / "targets.safetensors")
    found = Targets.load(tmp_path / "targets.safetensors")
    assert all(torch.equal(value, vars(targets)[name]) for name, value in vars(found).items())


@pytest.mark.parametrize("components", [0, 3])
def test_overall_scaling_gives_variance_1_on_the_mean_and_keeps_proportions(
    components: int,
) -> None:
    x = representations()
    plain = fit_targets(x - x.mean(0), TargetsConfig(components=components, scaling="none")).values
    values = fit_targets(x, TargetsConfig(components=components, scaling="overall")).values
    variances = values.double().var(0, correction=0)
    assert float(variances.mean()) == pytest.approx(1, rel=1e-5)
    assert values.mean(0).abs().max() < 1e-4
    ratios = plain.var(0) / variances
    assert float(ratios.max() / ratios.min()) == pytest.approx(1, rel=1e-4)


def test_dimension_scaling_gives_each_variance_1() -> None:
    values = fit_targets(representations(), TargetsConfig(scaling="dimension")).values
    assert values.var(0, correction=0).tolist() == pytest.approx([1.0] * 7, rel=1e-4)
    assert values.mean(0).abs().max() < 1e-4


def test_without_scaling_and_components_the_representations_are_left_as_they_are() -> None:
    x = representations()
    assert torch.equal(fit_targets(x, TargetsConfig(scaling="none")).values, x)


@given(
    components=st.integers(0, 5),
    scaling=st.sampled_from(["overall", "dimension", "none"]),
    seed=st.integers(0, 1000),
)
def test_the_stored_map_gives_the_values(components: int, scaling: str, seed: int) -> None:
    x = representations(count=20, features=5, seed=seed)
    targets = fit_targets(x, TargetsConfig(components=components, scaling=scaling))  # type: ignore[arg-type]
    moved = x - targets.shift
    if targets.rotation.numel():
        moved = moved @ targets.rotation
    assert torch.allclose(moved / targets.scale, targets.values, atol=2e-3)
    assert targets.dimensions == (components or 5)


def test_overall_scaled_components_keep_their_order() -> None:
    values = fit_targets(representations(), TargetsConfig(components=7)).values
    variances = values.var(0).tolist()
    assert variances == sorted(variances, reverse=True)


@pytest.mark.parametrize("count, components", [(60, 8), (3, 4)])
def test_more_components_than_there_can_be_are_refused(count: int, components: int) -> None:
    with pytest.raises(DecoctError, match=f"{components} principal components"):
        fit_targets(representations(count), TargetsConfig(components=components))


def test_negative_components_are_refused() -> None:
    with pytest.raises(DecoctError, match="components"):
        TargetsConfig(components=-1)


@pytest.mark.parametrize("scaling", ["overall", "dimension", "none"])
def test_constant_targets_are_refused(scaling: str) -> None:
    with pytest.raises(DecoctError, match="constant"):
        fit_targets(torch.full((10, 3), 0.7), TargetsConfig(scaling=scaling))  # type: ignore[arg-type]


def test_a_dimension_that_is_constant_stays_finite() -> None:
    x = representations()
    x[:, 2] = 0.3
    values = fit_targets(x, TargetsConfig(scaling="dimension")).values
    assert torch.equal(values[:, 2], torch.zeros(60))
    assert bool(values.isfinite().all())


# Where they come from


@FORMATS
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_files_of_representations_are_read(
    suffix: str, dtype: type[np.floating], tmp_path: Path
) -> None:
    array = representations().numpy().astype(dtype)
    got = read_representations(write(tmp_path / f"t{suffix}", array))
    assert got.dtype == torch.float32
    assert np.array_equal(got.numpy(), array.astype(np.float32))


def test_the_two_dimensional_array_is_found_among_others(tmp_path: Path) -> None:
    x = representations().numpy()
    np.savez(tmp_path / "t.npz", names=np.array(["a", "b"]), labels=np.arange(60), features=x)
    assert np.array_equal(read_representations(tmp_path / "t.npz").numpy(), x)


@FORMATS
def test_targets_of_another_number_of_images_are_refused(
    suffix: str, tmp_path: Path, tiny_images: Images
) -> None:
    source = write(tmp_path / f"t{suffix}", representations(41).numpy())
    with pytest.raises(DecoctError, match="41 targets for 40 images"):
        compute_targets(images=tiny_images, config=TargetsConfig(source=str(source)))


@FORMATS
def test_a_file_stands_in_for_the_teacher(suffix: str, tmp_path: Path, tiny_images: Images) -> None:
    x = representations(40)
    source = write(tmp_path / f"t{suffix}", x.numpy())
    config = TargetsConfig(source=str(source), components=2)
    assert torch.equal(
        compute_targets(images=tiny_images, config=config).values, fit_targets(x, config).values
    )


@FORMATS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_numbers_are_refused(suffix: str, bad: float, tmp_path: Path) -> None:
    array = representations().numpy().copy()
    array[3, 4] = bad
    with pytest.raises(DecoctError, match="non-finite"):
        read_representations(write(tmp_path / f"t{suffix}", array))


@FORMATS
def test_numbers_that_float32_cannot_hold_are_refused(suffix: str, tmp_path: Path) -> None:
    array = representations().numpy().astype(np.float64)
    array[3, 4] = 1e300
    with pytest.raises(DecoctError, match="non-finite"):
        read_representations(write(tmp_path / f"t{suffix}", array))


@FORMATS
def test_files_without_a_matrix_are_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DecoctError, match="no N x D array"):
        read_representations(write(tmp_path / f"t{suffix}", np.zeros(5, dtype=np.float32)))


@FORMATS
@pytest.mark.parametrize("kept", [0, 4, 100, -10])
def test_files_that_are_cut_short_are_refused(suffix: str, kept: int, tmp_path: Path) -> None:
    path = write(tmp_path / f"t{suffix}", representations().numpy())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DecoctError, match=f"t{suffix}"):
        read_representations(path)


def test_an_archive_with_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    buffer = io.BytesIO()
    np.save(buffer, representations().numpy())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", buffer.getvalue()[:200])
    with pytest.raises(DecoctError, match=r"t\.npz"):
        read_representations(path)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([[{"a": 1}]], dtype=object))
    with pytest.raises(DecoctError, match=r"t\.npy"):
        read_representations(tmp_path / "t.npy")


@pytest.mark.parametrize("name", ["missing.npy", "t.csv"])
def test_files_that_are_missing_or_of_another_format_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DecoctError, match=name):
        read_representations(tmp_path / name)


def test_neither_file_nor_teacher_is_refused(tiny_images: Images) -> None:
    with pytest.raises(DecoctError, match="need a teacher"):
        compute_targets(images=tiny_images)


def test_targets_are_the_teachers_features_of_images_in_its_own_normalisation(
    tiny_images: Images,
) -> None:
    config = NetworkConfig(width=4, depth=2)
    network = create_network(config, channels=3, size=16, outputs=1).eval()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    teacher = Encoder(network=network, config=config, size=16, mean=mean, std=std)
    targets = compute_targets(
        images=tiny_images, teacher=teacher, config=TargetsConfig(scaling="none")
    )
    unit = tiny_images.pixels.float() / 255
    normalised = (unit - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        expected = network.features(normalised)
    assert torch.allclose(targets.values, expected, atol=1e-4)


@pytest.mark.parametrize("components", [0, 2])
def test_round_trip(components: int, tmp_path: Path) -> None:
    targets = fit_targets(representations(), TargetsConfig(components=components))
    targets.save(tmp_path / "t.safetensors")
    loaded = Targets.load(tmp_path / "t.safetensors")
    assert all(torch.equal(getattr(loaded, name), value) for name, value in vars(targets).items())
