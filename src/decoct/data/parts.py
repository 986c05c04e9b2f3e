"""The training and the test part of labelled pictures: those given, or a split that we make."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from decoct.core import seeding
from decoct.core.errors import DecoctError
from decoct.data.catalogue import PARTS, Catalogue, catalogue_of
from decoct.data.fingerprint import fingerprint
from decoct.data.near_duplicates import THUMBNAIL, near_duplicates
from decoct.data.pictures import decoded

_TEST = 0.25  # share of each class


def part_of(found: Catalogue, part: str) -> Catalogue:
    """The files of one part. Raises `DecoctError` if there are none, or too few to split."""
    if found.parts is None:
        found = replace(found, parts=_split(found.path, fingerprint(found.path)))
    assert found.parts is not None
    rows = [i for i, own in enumerate(found.parts) if own == part]
    if not rows:
        raise DecoctError(f"{found.path} holds no pictures for its part {part}")
    return found.having(rows)


@lru_cache(maxsize=4)  # both parts, and often the pool, are of one split
def _split(path: Path, mark: str) -> tuple[str, ...]:
    """The part of each file of a catalogue, whose fingerprint is `mark`.

    About a quarter of each class is for the test. Near-duplicates lie on one side. A file's place
    in the order in which they are drawn depends only on its name, so that most stay in their part
    when others come and go.
    """
    found = catalogue_of(path)
    if found.classes is None or not all(found.classes):
        raise DecoctError(
            f"{path} is no task: it lacks labels; give every class a sub-folder, make a train and "
            "a test part (a folder each), or give a CSV of files and labels"
        )
    sizes = Counter(found.classes)
    if single := [name for name in found.class_names if sizes[name] == 1]:
        raise DecoctError(
            f"{path}: class {single[0]} has one picture, but the training and the test part need "
            "one each; add pictures or leave the class out"
        )
    readable, groups = _groups(found)
    members: dict[int, list[int]] = {}
    for i, group in zip(readable, groups, strict=True):
        members.setdefault(group, []).append(i)
    order = sorted(
        members.values(),
        key=lambda files: seeding.derive(0, "split", found.name_of(found.files[files[0]])),
    )
    test = _drawn(found, order)
    return tuple(PARTS[i in test] for i in range(len(found.files)))


def _groups(found: Catalogue) -> tuple[list[int], list[int]]:
    """The files that can be read, and the group of near-duplicates that each belongs to."""
    doing = f"thumbnails of {found.name}"
    pictures = list(decoded(found.files, size=THUMBNAIL, channels=1, doing=doing))
    thumbnails = {i: p[..., 0] for i, p in enumerate(pictures) if not isinstance(p, str)}
    if not thumbnails:
        raise DecoctError(f"{found.path}: none of its {len(pictures)} pictures can be read")
    return list(thumbnails), near_duplicates(np.stack(list(thumbnails.values()))).tolist()


def _drawn(found: Catalogue, groups: list[list[int]]) -> set[int]:
    """The files for the test, of groups that are not to be divided, in the order of drawing."""
    assert found.classes is not None
    content = [Counter(found.classes[i] for i in files) for files in groups]
    left: Counter[str] = sum(content, Counter())
    wanted = {name: max(1, round(_TEST * count)) for name, count in left.items()}
    drawn: set[int] = set()

    def draw(group: int) -> None:
        drawn.add(group)
        left.subtract(content[group])
        for name, count in content[group].items():
            wanted[name] -= count

    for group, classes in enumerate(content):
        if all(count <= wanted[name] and count < left[name] for name, count in classes.items()):
            draw(group)
    taken = {name for group in drawn for name in content[group]}
    for name in sorted(set(wanted) - taken):  # all of its groups are larger than a quarter
        choices = [
            (sum(classes.values()), group)
            for group, classes in enumerate(content)
            if group not in drawn and name in classes and all(classes[c] < left[c] for c in classes)
        ]
        if not choices:
            raise DecoctError(
                f"{found.path}: the {left[name]} pictures of class {name} that can be read are "
                "near-duplicates of one another, so they cannot be both learnt from and tested on; "
                "add others or leave the class out"
            )
        draw(min(choices)[1])
    return {i for group in drawn for i in groups[group]}
