"""The GPUs that runs may have here, without touching CUDA."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.environment import run_command

QUERY = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
NONE = ("-1", "none", "void")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One of this host.

    Args:
        index: As nvidia-smi counts.
        uuid: Which CUDA_VISIBLE_DEVICES takes; CUDA counts in another order than nvidia-smi.
        name: Of the model.
    """

    index: str
    uuid: str
    name: str


def visible_gpus() -> list[Gpu]:
    """Those of this host that CUDA_VISIBLE_DEVICES leaves visible, in its order."""
    lines = (run_command(QUERY) or "").splitlines()
    parts = [[part.strip() for part in line.split(",", 2)] for line in lines]
    found = [Gpu(index=one[0], uuid=one[1], name=one[2]) for one in parts if len(one) == 3]
    return seen(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def seen(found: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Those that a value of CUDA_VISIBLE_DEVICES names.

    As CUDA does, it stops at the first word that names none. A part of a GPU (MIG) is none of its
    own here.
    """
    if visible is None or not visible.strip():
        return list(found) if visible is None else []
    chosen: list[Gpu] = []
    for word in map(str.strip, visible.split(",")):
        named = [gpu for gpu in found if word and (gpu.index == word or gpu.uuid.startswith(word))]
        if word.lower() in NONE or len(named) != 1 or named[0] in chosen:
            break
        chosen += named
    return chosen


def alike(found: Sequence[Gpu]) -> list[Gpu]:
    """Those of the first one's model: results are filed under one."""
    return [gpu for gpu in found if gpu.name == found[0].name]


__all__ = ["Gpu", "alike", "seen", "visible_gpus"]
