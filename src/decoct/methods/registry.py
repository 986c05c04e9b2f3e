"""The methods by name. To add one, write its file and add a line here."""

from collections.abc import Mapping
from typing import Any

from decoct.core.errors import DecoctError
from decoct.core.spelling import suggest
from decoct.methods.assistant import AssistantItself
from decoct.methods.boost_ssdd import BoostSSDD
from decoct.methods.carried import Carried
from decoct.methods.carried_mkdt import CarriedMKDT
from decoct.methods.carried_random import CarriedRandom
from decoct.methods.full import Full
from decoct.methods.full_steps import FullSteps
from decoct.methods.full_views import FullViews
from decoct.methods.high_loss import HighLoss
from decoct.methods.k_center import KCenter
from decoct.methods.k_means import KMeans
from decoct.methods.krr_st import KRRST
from decoct.methods.method import Method, section_of, with_shared
from decoct.methods.mkdt import MKDT
from decoct.methods.mtt_ssl import MTTSSL
from decoct.methods.noise import Noise
from decoct.methods.none import NoPretraining
from decoct.methods.random import Random
from decoct.methods.sas import SAS
from decoct.methods.ssl_full import SSLFull
from decoct.methods.ssl_full_steps import SSLFullSteps
from decoct.methods.ssl_random import SSLRandom
from decoct.methods.teacher import Teacher
from decoct.methods.views import Views

METHODS: dict[str, type[Method]] = {}


def register(kind: type[Method]) -> type[Method]:
    """Make a method known to recipes, comparisons, estimates and tables."""
    METHODS[kind.name] = kind
    return kind


for _kind in (
    NoPretraining,
    Random,
    HighLoss,
    KMeans,
    KCenter,
    SAS,
    Views,
    Carried,
    CarriedRandom,
    CarriedMKDT,
    Noise,
    MKDT,
    MTTSSL,
    KRRST,
    BoostSSDD,
    SSLRandom,
    Full,
    SSLFull,
    FullSteps,
    SSLFullSteps,
    FullViews,
    AssistantItself,
    Teacher,
):
    register(_kind)


def method_kind(name: str) -> type[Method]:
    """A method's class; raises `DecoctError` for an unknown name.

    >>> method_kind("mkdt").summary
    'images and targets learnt by matching trajectories of distillation'
    """
    if name not in METHODS:
        raise DecoctError(f"method {name!r} is unknown;{suggest(name, METHODS)}")
    return METHODS[name]


def configured(name: str, own: Mapping[str, Method], sections: Mapping[str, Any]) -> Method:
    """A method as a recipe configures it: its own section, and the sections that methods share."""
    kind = method_kind(name)
    return with_shared(own.get(section_of(kind)) or kind(), sections)


def sections() -> dict[str, type[Method]]:
    """The recipe sections that belong to a single method, by name."""
    return {section_of(kind): kind for kind in METHODS.values() if section_of(kind)}


def compared_by_default() -> tuple[str, ...]:
    """References, the published and the default method, its labeller, the paper's start."""
    wanted = (NoPretraining, Random, HighLoss, MKDT, Carried, AssistantItself, Full, Teacher)
    return tuple(kind.name for kind in wanted)
