"""`Recipe`: the stages' own configurations, composed; read from YAML, overridden by flags."""

import dataclasses
import difflib
import importlib.resources
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from decoct.artefacts.distilled import resolve_size
from decoct.artefacts.targets import TargetsConfig
from decoct.core.errors import DecoctError
from decoct.evaluation.probe import ProbeConfig
from decoct.methods.krr_st import KRRSTConfig
from decoct.methods.mkdt import MKDTConfig
from decoct.methods.mtt_ssl import MTTSSLConfig
from decoct.methods.sas import SASConfig
from decoct.methods.subsets import SUBSETS
from decoct.methods.views import StoredViewsConfig
from decoct.training.assistant import AssistantConfig
from decoct.training.experts import ExpertsConfig
from decoct.training.pretrain import PretrainConfig, steps_an_epoch
from decoct.training.ssl_pretrain import SSL_METHODS, SSLPretrainConfig
from decoct.training.teacher import SSLConfig

SYNTHETIC = ("mkdt", "mtt-ssl", "krr-st")  # methods whose images are
DISTILLERS = ("views", *SYNTHETIC)
EQUAL_STEPS = ("full-steps", "ssl-full-steps")  # on all images, for as many steps as small sets
ON_ALL = ("full", "ssl-full", *EQUAL_STEPS)
METHODS = ("none", *SUBSETS, *DISTILLERS, "ssl-random", *ON_ALL, "teacher")
# Unless a recipe says otherwise.
_COMPARED = ("none", "random", "high-loss", "mkdt", "views", "full", "teacher")


@dataclass(frozen=True)
class ImagesConfig:
    """The unlabelled pool."""

    source: str = "emoji"  # folder, .npz, .npy, IDX, emoji, torchvision:NAME, hf:NAME
    size: int = 32  # pixels
    channels: int = 3  # 1 grey, 3 colour
    holdout: float = 0.0  # share of the pool that nothing is learnt from: to choose settings on

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise DecoctError(f"images.holdout is {self.holdout}; give a share in [0, 1)")

    def left_out(self, total: int) -> int:
        """How many of a pool's images nothing is learnt from."""
        return round(self.holdout * total)


@dataclass(frozen=True)
class TeacherConfig:
    """Where the teacher comes from: brought along, or trained here on the pool."""

    source: str = "embedded"  # embedded, timm:NAME, or a checkpoint file
    train: bool = False  # train one afresh by `ssl`, whatever `source` says
    size: int = 0  # pixels that a state dict's network takes; 0: the images'
    ssl: SSLConfig = field(default_factory=SSLConfig)


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, and how often. Tasks are named as in `decoct.load_task`."""

    methods: tuple[str, ...] = _COMPARED
    seeds: int = 3
    tasks: tuple[str, ...] = ("emoji",)
    full_epochs: int = 20  # for which the full data is pre-trained on; 0: as the small sets are
    lr: float = 0.1  # real images are pre-trained on with it, momentum 0.9, weight decay 1e-4
    rates: dict[str, float] = field(default_factory=dict)  # by method: a factor on its rate

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise DecoctError(f"method {method!r} is unknown;{suggest(method, METHODS)}")
        for method, factor in self.rates.items():
            if method not in METHODS:
                raise DecoctError(
                    f"compare.rates: {method!r} is unknown;{suggest(method, METHODS)}"
                )
            if not 0 < factor < math.inf:
                raise DecoctError(f"compare.rates: {method} is {factor}; give a positive factor")
        if self.seeds < 1:
            raise DecoctError("compare.seeds must be at least 1")


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on."""

    name: str = "recipe"
    seed: int = 0
    method: str = "views"  # whose set `decoct run` makes; mkdt is the published one
    device: str = "auto"
    data: str = ""  # the folder that sources are looked for in first
    size: int = 0  # images in the distilled set; 0: `fraction` of the pool
    fraction: float = 0.02
    images: ImagesConfig = field(default_factory=ImagesConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    assistant: AssistantConfig = field(default_factory=AssistantConfig)
    views: StoredViewsConfig = field(default_factory=StoredViewsConfig)
    sas: SASConfig = field(default_factory=SASConfig)
    distill: MKDTConfig = field(default_factory=MKDTConfig)
    mtt_ssl: MTTSSLConfig = field(default_factory=MTTSSLConfig)
    krr_st: KRRSTConfig = field(default_factory=KRRSTConfig)
    ssl: SSLPretrainConfig = field(default_factory=SSLPretrainConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DecoctError(f"method {self.method!r} is unknown;{suggest(self.method, METHODS)}")
        if self.views.labels == "teacher" and self.targets.source:
            raise DecoctError(
                "views.labels is teacher, but targets.source is a file, and there is no teacher to "
                "ask; give assistant or image"
            )
        last = self.distill.max_start - 1 + self.distill.expert_epochs
        if last > self.experts.epochs:
            raise DecoctError(
                f"distill.max_start {self.distill.max_start} and distill.expert_epochs "
                f"{self.distill.expert_epochs} read epoch {last} of the experts, but "
                f"experts.epochs is {self.experts.epochs}"
            )
        if self.size < 0 or (self.size == 0 and not 0 < self.fraction <= 1):
            raise DecoctError(
                f"a distilled set of size {self.size}, fraction {self.fraction}: the size must be "
                "positive, or the fraction in (0, 1]"
            )

    def source(self, name: str) -> str:
        """A source's path: in the data folder, if it is there."""
        path = Path(self.data) / name
        return str(path) if name and self.data and path.exists() else name

    def pretraining(self, method: str) -> PretrainConfig:
        """How an encoder is pre-trained: the full data has a number of epochs of its own."""
        full = method in ("full", "ssl-full")
        return replace(
            self.pretrain,
            epochs=(full and self.compare.full_epochs) or self.pretrain.epochs,
            rate=self.compare.rates.get(method, self.pretrain.rate),
        )

    def steps(self, method: str, count: int) -> int:
        """Gradient steps of a method's pre-training on `count` images."""
        seen = count * (self.views.count if method == "views" else 1)  # images an epoch
        if method in EQUAL_STEPS:
            seen = resolve_size(size=self.size, fraction=self.fraction, total=count)
        steps = self.pretraining(method).epochs * steps_an_epoch(seen, self.distill.batch)
        if method not in SSL_METHODS or method in EQUAL_STEPS:
            return steps
        epochs = self.ssl.full_epochs if method == "ssl-full" else self.ssl.epochs
        return self.ssl.steps(count, epochs=epochs, otherwise=steps)

    def to_yaml(self) -> str:
        """The resolved recipe, as a file that `load_recipe` reads back."""
        return yaml.safe_dump(msgspec.to_builtins(self), sort_keys=False, allow_unicode=True)


def recipe_names() -> list[str]:
    """The recipes that are shipped.

    >>> "demo" in recipe_names()
    True
    """
    folder = importlib.resources.files("decoct.run.recipes")
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def load_recipe(name: str | Path) -> Recipe:
    """A shipped recipe by name, or one of your own by the path of its YAML file.

    Raises `DecoctError` for a file that does not exist, a misspelt key (with the right one), a
    value of the wrong type, and values that cannot work together.

    >>> load_recipe("demo").images.source
    'emoji'
    """
    path = Path(name)
    if str(name) in recipe_names():
        text = (importlib.resources.files("decoct.run.recipes") / f"{name}.yaml").read_text("utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        raise DecoctError(
            f"there is no recipe {name}: neither a file nor a shipped one;"
            f"{suggest(str(name), recipe_names())}"
        )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DecoctError(f"recipe {name} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DecoctError(f"recipe {name} must be a mapping of settings")
    _check_keys(content, Recipe, where=str(name))
    content.setdefault("name", path.stem)
    try:
        return msgspec.convert(content, Recipe)
    except msgspec.ValidationError as error:
        raise DecoctError(f"recipe {name}: {error}") from error


def _check_keys(content: dict[Any, Any], kind: Any, *, where: str, path: str = "") -> None:
    """Refuse keys that no field has: a misspelt setting would otherwise go unnoticed."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key, value in content.items():
        if key not in fields:
            raise DecoctError(
                f"recipe {where}: there is no setting {path}{key};{suggest(str(key), fields)}"
            )
        inner = fields[key].type
        if dataclasses.is_dataclass(inner) and isinstance(value, dict):
            _check_keys(value, inner, where=where, path=f"{path}{key}.")


def suggest(word: str, known: Iterable[str]) -> str:
    """A clause that names the nearest known word, or all of them.

    >>> suggest("itterations", ["iterations", "batch"])
    ' perhaps you meant iterations?'
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" perhaps you meant {close[0]}?" if close else f" there are {', '.join(known)}"
