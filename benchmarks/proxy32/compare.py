"""Compare a newly built suite with the reference."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


def compare_images(found: Array, reference: Array) -> str:
    """Equal, equal up to order, or the share of the reference's pictures that was found."""
    if found.shape == reference.shape and (found == reference).all():
        return "equal"
    ours, theirs = (Counter(image.tobytes() for image in images) for images in (found, reference))
    if ours == theirs:
        return "equal as a set"
    return f"{(ours & theirs).total() / len(reference):.2%} found; {len(found):,} pictures"


def compare_labels(found: dict[str, Array], reference: dict[str, Array], side: str) -> str:
    """Equal, or the share of the common pictures whose labels agree."""
    ours, theirs = (arrays[f"{side}_labels"] for arrays in (found, reference))
    if np.array_equal(ours, theirs):
        return "equal"
    names = defaultdict(str)
    for image, label in zip(found[f"{side}_images"], ours, strict=True):
        names[image.tobytes()] = str(found["class_names"][int(label)])
    pairs = [
        (names[image.tobytes()], str(reference["class_names"][int(label)]))
        for image, label in zip(reference[f"{side}_images"], theirs, strict=True)
        if image.tobytes() in names
    ]
    agree = sum(ours == theirs for ours, theirs in pairs)
    return f"{agree / max(len(pairs), 1):.2%} of {len(pairs):,} agree"


def compare_targets(found: Array, reference: Array) -> str:
    """Equal, or the share of equal numbers, and the error relative to the reference's norm."""
    if found.shape != reference.shape:
        return f"shape {found.shape} for {reference.shape}"
    equal = (found == reference).mean()
    ours, theirs = found.astype(np.float64), reference.astype(np.float64)
    turned = ours * np.sign((ours * theirs).sum(0))  # a component's sign is arbitrary
    error = np.linalg.norm(turned - theirs) / np.linalg.norm(theirs)
    signs = int((turned == ours).all(0).sum())
    return f"{equal:.2%} of numbers equal, error {error:.1e}, {signs} of {ours.shape[1]} signs"


def comparison(found: Path, reference: Path) -> Iterator[tuple[str, str, str]]:
    """The file, the array and the comparison, for each of the reference's arrays."""
    for path in sorted(reference.glob("*.np[yz]")):
        if not (found / path.name).exists():
            yield path.name, "", "not built"
        elif path.suffix == ".npy":
            yield path.name, "", compare_targets(np.load(found / path.name), np.load(path))
        else:
            ours, theirs = dict(np.load(found / path.name)), dict(np.load(path))
            for name in theirs:
                if name.endswith("labels"):
                    said = compare_labels(ours, theirs, name.removesuffix("_labels"))
                else:
                    said = compare_images(ours[name], theirs[name])
                yield path.name, name, said
