"""The best self-supervised teacher of timm's that can be had: a small ViT, cached or online."""

from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from decoct.core.errors import DecoctError
from decoct.core.extras import import_extra

_SIZE = 224  # px: whole patches of both networks, and cheaper than their own 256 and 518 px
_FILE = "model.safetensors"
_CANDIDATES = {  # by preference
    "vit_small_patch16_dinov3.lvd1689m": "DINOv3 small",
    "vit_small_patch14_dinov2.lvd142m": "DINOv2 small",
}
_LICENCES = {  # by timm's names
    "dinov3-license": "the DINOv3 License of Meta, which has terms of its own "
    "(https://ai.meta.com/resources/models-and-libraries/dinov3-license)",
    "apache-2.0": "Apache-2.0",
}


@dataclass(frozen=True)
class AvailableTeacher:
    """A teacher of timm's whose weights are at hand."""

    source: str  # as in `teacher.source`
    title: str
    licence: str
    size: int  # px at which it should see the images, as in `teacher.size`
    cached: bool  # otherwise some 90 MB are yet to be downloaded


def best_teacher(*, timeout_s: float = 5.0) -> tuple[AvailableTeacher | None, str]:
    """The best self-supervised ViT that can be had, or None and the reason.

    What Hugging Face's cache holds comes first, then what its hub answers for within `timeout_s`
    seconds. Nothing is downloaded; with `HF_HUB_OFFLINE` set, nothing is asked.
    """
    try:
        timm: Any = import_extra("timm", extra="timm", package="timm")
        hub: Any = import_extra("huggingface_hub", extra="timm", package="huggingface_hub")
    except DecoctError as error:
        return None, str(error)
    configs = {name: timm.get_pretrained_cfg(name) for name in _CANDIDATES if _has(timm, name)}
    if not configs:
        return None, f"timm {timm.__version__} has neither DINOv3 nor DINOv2; install a newer one"
    for name, config in configs.items():
        if isinstance(hub.try_to_load_from_cache(config.hf_hub_id, _FILE), str):
            return _available(name, config, cached=True), ""
    reasons = []
    for name, config in configs.items():
        if not (reason := _unreachable(hub, config.hf_hub_id, timeout_s / len(configs))):
            return _available(name, config, cached=False), ""
        reasons.append(reason)
    titles = " and ".join(_CANDIDATES[name] for name in configs)
    return None, f"the weights of {titles} are not in the cache, and {reasons[0]}"


def _has(timm: Any, name: str) -> bool:
    return name in timm.list_pretrained(f"{name.partition('.')[0]}*")


def _available(name: str, config: Any, *, cached: bool) -> AvailableTeacher:
    return AvailableTeacher(
        source=f"timm:{name}",
        title=_CANDIDATES[name],
        licence=_LICENCES.get(config.license, config.license or "a licence that timm leaves out"),
        size=_SIZE,
        cached=cached,
    )


def _unreachable(hub: Any, repository: str, timeout_s: float) -> str:
    """Why the hub does not give these weights; empty if it does.

    It is asked in a thread that nobody waits for, because no time limit covers a name server.
    """
    answers: SimpleQueue[str] = SimpleQueue()

    def ask() -> None:
        try:
            url = hub.hf_hub_url(repository, _FILE)
            hub.get_hf_file_metadata(url, timeout=timeout_s)
            answers.put("")
        except Exception as error:  # the hub's own exceptions have no common base
            answers.put(f"Hugging Face does not give them ({' '.join(str(error).split())})")

    Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=timeout_s)
    except Empty:
        return f"Hugging Face does not answer within {timeout_s:g} seconds"
