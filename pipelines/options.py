"""Options of pipelines, and how a pipeline is spelled with them: "torchvision[workers=4]"."""

import os
import re
from collections.abc import Mapping
from typing import Protocol

from pipelines.catalog import unknown_name

_SPELLING = re.compile(r"(?P<name>[a-z0-9_]+)(\[(?P<options>[^\[\]]*)\])?")
MAX_WORKERS = 8


class HasOptions(Protocol):
    """What has modes and options: a library, or what is known of it before it is imported."""

    @property
    def name(self) -> str: ...
    @property
    def modes(self) -> tuple[str, ...]: ...
    @property
    def options(self) -> Mapping[str, float]: ...


def usable_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


THREADS, READ_AHEAD, NVJPEG = "threads", "read_ahead", "nvjpeg"
READER_OPTIONS = {THREADS: 0, READ_AHEAD: 0}  # 0 leaves the choice to the reader
DEVICE_READER_OPTIONS = {**READER_OPTIONS, NVJPEG: 0}  # for batches that a GPU may decode
LOADER_OPTIONS: Mapping[str, int] = {"workers": min(MAX_WORKERS, usable_cores())}


def split(spelling: str) -> tuple[str, list[str]]:
    """Name and options of a spelling; ValueError if it is malformed."""
    match = _SPELLING.fullmatch(spelling)
    if match is None:
        raise ValueError(f"pipeline {spelling!r} is not spelled NAME or NAME[mode,option=number]")
    return match["name"], [
        text for part in (match["options"] or "").split(",") if (text := part.strip())
    ]


def read(entry: HasOptions, spelling: str) -> tuple[str, dict[str, int]]:
    """The mode and all options in a spelling of an entry's name.

    Raises:
        ValueError: An unknown mode or option, or an invalid value.
    """
    mode = entry.modes[0] if entry.modes else ""
    options = {key: int(value) for key, value in entry.options.items()}
    for part in split(spelling)[1]:
        key, equals, text = part.partition("=")
        if not equals and key in entry.modes:
            mode = key
        elif key not in options:
            raise ValueError(unknown_name(f"option of {entry.name}", key, [*entry.modes, *options]))
        elif not text.isdecimal():
            raise ValueError(f"in {spelling!r}, {key} needs a whole number, as in {key}=4")
        else:
            options[key] = int(text)
    return mode, options


def canonical(entry: HasOptions, mode: str, options: Mapping[str, int]) -> str:
    """The canonical name: without the default mode, and without options left at a default of 0.

    Other defaults are included, as they may depend on the machine.
    """
    parts = [mode] if entry.modes and mode != entry.modes[0] else []
    parts += [
        f"{key}={value}" for key, value in sorted(options.items()) if value or entry.options[key]
    ]
    inside = ",".join(parts)
    return f"{entry.name}[{inside}]" if inside else entry.name
