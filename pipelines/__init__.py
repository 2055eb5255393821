"""Data pipelines: `load` a source, `build` a pipeline, iterate its epochs.

Usable without the rest of the suite:

    data = pipelines.load("cifar10")
    pipeline = pipelines.build("kornia", data.train, "flip_crop", batch_size=512, device="cuda")
    for images, labels in pipeline.epoch(0): ...
"""

from typing import TYPE_CHECKING

from pipelines.catalog import Unavailable, UnknownName

if TYPE_CHECKING:
    from pipelines.building import build, canonical_name
    from pipelines.sources import load
    from pipelines.sources.base import SourceError

__all__ = ["SourceError", "Unavailable", "UnknownName", "build", "canonical_name", "load"]

# torch takes seconds to import; names that need it are looked up on first use.
_HOME = {
    "build": "pipelines.building",
    "canonical_name": "pipelines.building",
    "load": "pipelines.sources",
    "SourceError": "pipelines.sources.base",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
