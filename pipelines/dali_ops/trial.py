"""Tests with a minimal pipeline whether DALI works on this machine.

An installed DALI may fail (a wheel for another CUDA, an old driver), which shows only when a first
pipeline is built.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

WHEEL = "nvidia-dali-cuda"
DYNAMIC_MODULE = "nvidia.dali.experimental.dynamic"


@cache
def fault(device: str, *, dynamic: bool = False) -> str:
    """Why DALI, or its dynamic mode, doesn't work on a device type; "" if it does."""
    try:
        dali: Any = import_module("nvidia.dali")
        fn: Any = import_module("nvidia.dali.fn")
        if dynamic:
            import_module(DYNAMIC_MODULE)
        pipe = dali.Pipeline(
            batch_size=1, num_threads=1, device_id=0 if device == "cuda" else None, seed=0
        )
        with pipe:
            pipe.set_outputs(fn.constant(idata=[1], device="gpu" if device == "cuda" else "cpu"))
        pipe.build()
        pipe.run()
    except (ImportError, OSError) as error:
        return f"it cannot be imported ({_line(error)})"
    except Exception as error:  # noqa: BLE001 - DALI raises many types
        if "memory" in str(error).lower():
            return ""  # the device is full; the run will report it
        return f"it fails when it is first used ({_line(error)})"
    return ""


def missing() -> str:
    """Why DALI can't be found; "" if it is installed, whether it works or not."""
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        return "dali is not installed: pip install nvidia-dali-cuda130 (Linux on x86-64 only)"
    return ""


def wheels() -> list[str]:
    """DALI's installed distributions: ["nvidia-dali-cuda130"]."""
    names = {found.metadata["Name"] for found in distributions()}
    return sorted(name for name in names if name and name.startswith(WHEEL))


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
