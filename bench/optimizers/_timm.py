"""Optimizers of timm."""

import importlib
from typing import Any


def timm_optimizer(name: str) -> Any:
    """timm's class called `name`, imported only when it is needed, which takes seconds.

    The import lifts torch.compile's limit on recompilations; it is put back, as nets and pipelines
    count on it.
    """
    from torch._dynamo import config  # slow to import

    limit = config.recompile_limit
    try:
        return getattr(importlib.import_module(f"timm.optim.{name.lower()}"), name)
    finally:
        config.recompile_limit = limit
