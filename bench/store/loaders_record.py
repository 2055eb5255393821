"""What `bench loaders` found: each pipeline alone, at several batch sizes.

The record of `bench loaders` read back from the file that it left in a group folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.record import Memory, Reads, Status
from bench.store.files import UnusableFile, read_file, unreadable
from bench.text import sanitize

LEAST_REPEATS = 3  # of fewer the quartiles say nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """Whole batches delivered between two moments when the device was idle.

    Args:
        images: Delivered.
        batch_s: Seconds for each batch, on average.
        images_per_s: Images a second.
    """

    images: int
    batch_s: float
    images_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One pipeline at one batch size, measured in a process of its own.

    Args:
        pipeline: The variant's spelling.
        batch_size: Images a batch.
        compiled: Whether the variant compiles its operations.
        reads: "files" where it decodes the source's image files each epoch, else "array".
        status: "ok", "skipped" (it cannot do this here), "interrupted" (the call ended before it
            was done), or how it failed.
        reason: Why it is not "ok", in one sentence.
        draws: Op to "per sample" or "per batch".
        build_s: Building the pipeline, its library imported and the source at hand.
        first_batch_s: From the built pipeline to its first batch; with nothing compiled before.
        bytes_per_image: Of the source that is read, and of the output that is written.
        memory: Peaks above what was held before the pipeline was built.
        repeats: In the order of measurement; a series that was lost keeps those it had.
    """

    pipeline: str
    batch_size: int
    compiled: bool
    reads: Reads = "array"
    status: Status = "ok"
    reason: str = ""
    draws: Mapping[str, str] = field(default_factory=dict)
    build_s: float | None = None
    first_batch_s: float | None = None
    bytes_per_image: int | None = None
    memory: Memory = field(default_factory=Memory)
    repeats: tuple[Repeat, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadersRecord:
    """All of one call.

    Args:
        source: Where the images come from.
        fingerprint: Names them.
        images: How many are read.
        image_size: (height, width).
        augmentation: The policy.
        device: "cuda" or "cpu".
        scale: "full" or "cpu", as `bench run` files its results.
        precision: Of the images delivered: "fp32" or "bf16".
        repeat_s: Least seconds of a repeat.
        command: The command line.
        started: ISO time.
        environment: As `bench.machine.environment.describe` gives it.
        bandwidth_gb_per_s: Of the device's memory, in 10^9 bytes read or written a second.
        series: One for each batch size and pipeline.
        plugins: Where entries from outside come from: "mine.py" and the digest of its source.
    """

    source: str
    fingerprint: str
    images: int
    image_size: tuple[int, int]
    augmentation: str
    device: str
    scale: str
    precision: str
    repeat_s: float
    command: str
    started: str
    environment: Mapping[str, Any]
    bandwidth_gb_per_s: float
    series: tuple[Series, ...]
    plugins: tuple[str, ...] = ()


FILE = "loaders.json"
LARGEST = 2**26  # bytes


def read(folder: Path) -> LoadersRecord | None:
    """What `bench loaders` found in this group; None if it was not called.

    Raises:
        UnusableFile: The file cannot be read, or is not such a record.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        text = read_file(path, LARGEST)
        return sanitize(msgspec.convert(_plain(msgspec.json.decode(text)), LoadersRecord))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnusableFile(
            path,
            f"is not a record of `bench loaders` ({error})",
            "run `bench loaders` again, or delete the file",
        ) from error


def _plain(whole: dict[str, Any]) -> dict[str, Any]:
    """The record's own fields; the file's rows hold those of each series among derived figures."""
    return whole | {"series": [_series(row) for row in whole["rows"]]}


def _series(row: dict[str, Any]) -> dict[str, Any]:
    memory = {name: row[name] for name in ("host_gib", "torch_gib", "device_gib")}
    return row | {"draws": row["draws_by_op"], "memory": memory}
