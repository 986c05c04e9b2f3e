"""`Recipe`: the settings of all stages and methods, read from YAML."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import tyro
import yaml

from decoct.artefacts.coding import CodingConfig
from decoct.artefacts.distilled import resolve_size
from decoct.artefacts.rule import TrainingRule
from decoct.artefacts.targets import TargetsConfig
from decoct.core.bytes import bytes_of
from decoct.core.errors import DecoctError
from decoct.core.settings import (
    Bounds,
    CountOrNone,
    Few,
    Pixels,
    Positive,
    Seed,
    Settings,
    Some,
    Word,
    check,
    hints,
    shown,
)
from decoct.core.spelling import suggest
from decoct.data.catalogue import part_named
from decoct.evaluation.probe import ProbeConfig
from decoct.matching.loop import MatchingConfig
from decoct.methods.carried import LabellerConfig
from decoct.methods.method import Method, own_fields, section_of
from decoct.methods.registry import METHODS, compared_by_default, configured, method_kind, sections
from decoct.run.old_recipes import upgraded
from decoct.run.recipe_file import read_recipe
from decoct.training.assistant import AssistantConfig
from decoct.training.expert import ExpertsConfig
from decoct.training.pretrain import PretrainConfig, Trainer
from decoct.training.ssl_pretrain import SSLPretrainConfig
from decoct.training.teacher import SSLConfig

_NAME = 200  # bytes of a run's name, which file systems let be 255
_EXPONENT = re.compile(r"([-+]?\d+)(\.\d+)?e([-+]?)(\d+)", re.IGNORECASE)
_BEFORE_PATHS = ("timm:local-dir:", "hf:", "")  # what may stand before the path in a source


@dataclass(frozen=True)
class ImagesConfig(Settings):
    """The unlabelled pool."""

    section: ClassVar[str] = "images"

    source: Word = "emoji"  # folder, .npz, .npy, IDX, emoji, torchvision:NAME, hf:NAME
    size: Pixels = 32  # of a side
    channels: Literal[1, 3] = 3  # grey or colour
    holdout: Annotated[float, Bounds(at_least=0, below=1)] = 0.0  # fraction held out from training

    def left_out(self, total: int) -> int:
        """How many of a pool's images are held out."""
        return round(self.holdout * total)


@dataclass(frozen=True)
class TeacherConfig(Settings):
    """Where the teacher comes from: given, or trained on the pool."""

    section: ClassVar[str] = "teacher"

    source: Word = "embedded"  # embedded, timm:NAME, timm:local-dir:FOLDER, or a checkpoint file
    train: bool = False  # train a new one by `ssl`, and ignore `source`
    # pixels of timm:NAME or a state dict; 0: its own
    size: Annotated[int, Bounds(at_least=0, at_most=4096)] = 0
    ssl: SSLConfig = field(default_factory=SSLConfig)


@dataclass(frozen=True)
class CompareConfig(Settings):
    """What is compared, and how often. Tasks are named as in `decoct.load_task`."""

    section: ClassVar[str] = "compare"

    methods: Some[str] = field(default_factory=compared_by_default)  # what is compared
    seeds: Few = 3  # each with its own sets, encoders and labelled examples
    tasks: tuple[Word, ...] = ()  # labelled sets to probe on; none: only images held out judge
    full_epochs: CountOrNone = 20  # of training on all images; 0: as many as on the small sets
    lr_factors: dict[str, Positive] = field(default_factory=dict)  # by method; multiplies its rate
    optimisers: dict[str, Trainer] = field(default_factory=dict)  # by method; else pretrain's

    def __post_init__(self) -> None:
        super().__post_init__()
        for method in self.methods:
            method_kind(method)
        for setting in ("lr_factors", "optimisers"):
            for method in getattr(self, setting):
                if method not in METHODS:
                    raise DecoctError(
                        f"compare.{setting}: {method!r} is unknown;{suggest(method, METHODS)}"
                    )


def _method_sections() -> dict[str, Method]:
    return {name: kind() for name, kind in sections().items()}


@dataclass(frozen=True)
class Recipe(Settings):
    """Everything that a run depends on.

    `methods` holds the methods' own sections by name: `recipe.mkdt` is `recipe.methods["mkdt"]`.
    """

    name: str = "recipe"  # the run's folder is runs/NAME
    seed: Seed = 0  # the first of compare.seeds
    method: Word = "carried"  # the method whose set `decoct run` makes; the published one is mkdt
    device: str = "auto"  # cpu, cuda or mps; auto: the fastest that there is
    data: str = ""  # the folder in which sources are looked for first
    size: CountOrNone = 0  # images in the distilled set; 0: `fraction` of the pool
    fraction: Annotated[float, Bounds(above=0, at_most=1)] = 0.02  # the set's share of the pool
    budget: str = ""  # bytes of the set, such as 1MB, in place of size and fraction
    images: ImagesConfig = field(default_factory=ImagesConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    assistant: AssistantConfig = field(default_factory=AssistantConfig)
    rule: TrainingRule = field(default_factory=TrainingRule)  # for training on real images
    matching: MatchingConfig = field(default_factory=MatchingConfig)  # of mkdt and mtt-ssl
    labeller: LabellerConfig = field(default_factory=LabellerConfig)  # of sets that carry one
    coding: CodingConfig = field(default_factory=CodingConfig)  # of every set, once it is made
    ssl: SSLPretrainConfig = field(default_factory=SSLPretrainConfig)  # of the ssl- methods
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    methods: Annotated[dict[str, Method], tyro.conf.Fixed, tyro.conf.Suppress] = field(
        default_factory=_method_sections
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = self.name.isprintable() and len(self.name.encode()) <= _NAME
        if not self.name.strip(". ") or set(self.name) & set("/\\") or not plain:
            raise DecoctError(
                f"name is {shown(self.name)}, but must be a plain name of at most {_NAME} bytes: "
                "the run's folder is runs/NAME"
            )
        method_kind(self.method)
        if self.budget:
            bytes_of(self.budget)
        for own in self.methods.values():
            self._check_method(own)
        if self.matching.last_epoch > self.experts.epochs:
            raise DecoctError(
                f"matching.max_start_epoch {self.matching.max_start_epoch} and "
                f"matching.expert_epochs {self.matching.expert_epochs} read epoch "
                f"{self.matching.last_epoch} of the experts, but experts.epochs is "
                f"{self.experts.epochs}"
            )

    def _check_method(self, own: Method) -> None:
        if self.targets.source and "teacher" in own.needs():
            raise DecoctError(
                f"{own.name} asks the teacher for labels, but there is no teacher, because "
                f"targets.source is a file; change the settings under {section_of(type(own))}"
            )
        for chooser in own.chosen_by():
            kind = method_kind(chooser)
            if not kind.makes_set or kind.synthetic or kind is type(own):
                raise DecoctError(f"{section_of(type(own))}: {chooser} chooses no real images")

    def __getattr__(self, name: str) -> Any:
        if name in (methods := self.__dict__.get("methods", {})):
            return methods[name]
        raise AttributeError(f"a recipe has no {name}")

    def having(self, **changes: Any) -> Self:
        """The recipe with sections or settings changed, including a method's own.

        >>> recipe = Recipe()
        >>> recipe.having(mkdt=replace(recipe.mkdt, init="random"), seed=1).mkdt.init
        'random'
        """
        own = {name: changes.pop(name) for name in list(changes) if name in self.methods}
        return replace(self, **changes, methods={**self.methods, **own})

    def set(self, setting: str, value: Any) -> Self:
        """The recipe with one setting changed, given its path.

        >>> Recipe().set("matching.batch", 3).get("matching.batch")
        3
        """
        name, _, rest = setting.partition(".")
        return self.having(**{name: _changed(getattr(self, name), rest, value) if rest else value})

    def get(self, setting: str) -> Any:
        """The value of a setting, given its path."""
        found: Any = self
        for name in setting.split("."):
            found = getattr(found, name)
        return found

    def configured(self, method: str) -> Method:
        """A method with all of its settings, including those that it shares with others."""
        shared = {f.name: getattr(self, f.name) for f in fields(self)}
        return configured(method, self.methods, shared)

    def source(self, name: str) -> str:
        """A source's path: in the data folder, if it exists there; `~` is the user's folder."""
        place = next(prefix for prefix in _BEFORE_PATHS if name.startswith(prefix))
        if (inner := name.removeprefix(place)).startswith("~"):
            name = f"{place}{Path(inner).expanduser()}"
        path = Path(self.data).expanduser() / name
        there = Path(part_named(path)[0]).exists()  # of photos@train, the folder
        return str(path) if name and self.data and there else name

    def pretraining(self, method: str) -> PretrainConfig:
        """How a method's encoder is pre-trained; training on all images has its own length."""
        own = method_kind(method).own_length()
        return replace(
            self.pretrain,
            epochs=(own and self.compare.full_epochs) or self.pretrain.epochs,
            steps=0 if own else self.pretrain.steps,
            lr_factor=self.compare.lr_factors.get(method, self.pretrain.lr_factor),
            optimiser=self.compare.optimisers.get(method, self.pretrain.optimiser),
        )

    def set_size(self, total: int) -> int:
        """How many images a set made from `total` images has."""
        return resolve_size(size=self.size, fraction=self.fraction, total=total)

    @property
    def judged(self) -> bool:
        """Whether encoders are compared: on tasks, on images held out, or on both."""
        return bool(self.compare.tasks or self.images.holdout)

    @property
    def has_teacher(self) -> bool:
        """False if the targets come from a file, so that there is no network to embed a task."""
        return not self.targets.source

    def to_yaml(self) -> str:
        """The resolved recipe, as a file that `load_recipe` reads back."""
        content = msgspec.to_builtins(dataclasses.asdict(self))  # with every default
        for name, own in content.pop("methods").items():
            content[name] = {key: own[key] for key in own_fields(type(self.methods[name]))}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _changed(settings: Any, setting: str, value: Any) -> Any:
    name, _, rest = setting.partition(".")
    return replace(
        settings, **{name: _changed(getattr(settings, name), rest, value) if rest else value}
    )


def load_recipe(name: str | Path) -> Recipe:
    """A shipped recipe by name, or one of your own by the path of its YAML file.

    It also reads recipes with the setting names of earlier versions. Raises `DecoctError` for a
    file that does not exist, a misspelt key (suggesting the right one), a value of the wrong type,
    and values that contradict each other.

    >>> load_recipe("demo").images.source
    'emoji'
    """
    return _recipe_of(read_recipe(name), name=str(name), stem=Path(name).stem)


def _recipe_of(content: dict[Any, Any], *, name: str, stem: str) -> Recipe:
    own = sections()
    try:
        content = {"name": stem} | upgraded(content, name)
        _check(content, _known(Recipe) | own)
        found = _converted(content, {f.name: f.type for f in fields(Recipe)} | own)
        methods = {key: found.pop(key, kind()) for key, kind in own.items()}
        return Recipe(**found, methods=methods)
    except (msgspec.ValidationError, DecoctError) as error:
        said = str(error).partition(" - at `$")[0]  # of a section: settings say where they are
        raise DecoctError(f"recipe {name}: {said}") from error


def _converted(content: dict[Any, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Convert plain data to the given types."""
    wanted = [(key, kinds[key]) for key in content]
    found = msgspec.convert(content, msgspec.defstruct("Content", wanted))
    return {key: getattr(found, key) for key in content}


def _known(kind: Any) -> dict[str, Any]:
    """A section's settings and their types, without those that a method shares with others."""
    names = own_fields(kind) if issubclass(kind, Method) else [f.name for f in fields(kind)]
    types = hints(kind)
    return {name: types[name] for name in names if kind is not Recipe or name != "methods"}


def _check(content: dict[Any, Any], known: Mapping[str, Any], path: str = "") -> None:
    """Refuse values of a wrong type, and unknown keys: a misspelt setting would go unnoticed."""
    for key, value in content.items():
        if key not in known:
            raise DecoctError(f"there is no setting {path}{key};{suggest(str(key), known)}")
        inner = known[key]
        if dataclasses.is_dataclass(inner) and isinstance(value, dict):
            _check(value, _known(inner), f"{path}{key}.")
        else:
            try:
                check(f"{path}{key}", inner, value)
            except DecoctError as error:
                raise DecoctError(f"{error}{_number_meant(value)}") from error


def _number_meant(value: Any) -> str:
    """What to write for a number that YAML takes for text.

    >>> _number_meant("1e-3")
    '; in YAML write 1.0e-3'
    """
    found = _EXPONENT.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return ""
    whole, places, sign, exponent = found.groups()
    return f"; in YAML write {whole}{places or '.0'}e{sign or '+'}{exponent}"
