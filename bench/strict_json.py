"""Plain data as strict JSON can hold it."""

import math
from typing import Any


def strict(value: Any) -> Any:
    """The same without what JSON cannot hold: NaN, infinity, and bytes smuggled into a text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {strict(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


__all__ = ["strict"]
