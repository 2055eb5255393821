"""A benchmark in a process with the settings of a worker, which have to stand when it starts."""

import os
import sys

from bench.executors.local import SETTINGS


def begin_as_worker() -> None:
    """Starts this program anew where a worker's settings are missing; what is set already stays."""
    missing = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)
