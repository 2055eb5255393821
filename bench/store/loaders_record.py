"""`loaders.json`: measurements of `bench loaders`, per pipeline and batch size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.record import Memory, Reads, Status
from bench.store.files import UnusableFile, read_file, unreadable
from bench.text import sanitize

LOADERS_FILE = "loaders.json"
LARGEST = 2**26  # bytes
LEAST_REPEATS = 3  # quartiles of fewer are meaningless


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """Whole batches delivered between two moments when the device was idle.

    Args:
        batch_s: Mean seconds per batch.
        timing_suspect: What disturbed it; empty if nothing did.
    """

    images: int
    batch_s: float
    images_per_s: float
    timing_suspect: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One pipeline at one batch size, measured in a separate process.

    Args:
        pipeline: The variant's spelling.
        batch_size: Images per batch.
        compiled: Whether the variant compiles its operations.
        reads: "files" if it decodes the source's image files in each epoch, else "array".
        status: "ok", "skipped" (not possible here), "interrupted" (by the user), or the failure.
        reason: Why it is not "ok", in one sentence.
        draws: Op to "per sample" or "per batch".
        build_s: Seconds to build the pipeline, after importing its library and loading the source.
        first_batch_s: Seconds from the built pipeline to its first batch, including compilation.
        bytes_per_image: Bytes read from the source plus bytes of output.
        memory: Peak memory minus the usage before the pipeline was built.
        repeats: In the order of measurement; a failed series keeps the finished ones.
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

    @property
    def undisturbed(self) -> tuple[Repeat, ...]:
        """The repeats that nothing disturbed."""
        return tuple(repeat for repeat in self.repeats if not repeat.timing_suspect)

    @property
    def used(self) -> tuple[Repeat, ...]:
        """The repeats that its speed is made of: the undisturbed ones, or all if these are few."""
        return self.undisturbed if len(self.undisturbed) >= LEAST_REPEATS else self.repeats

    @property
    def timing_suspect(self) -> tuple[str, ...]:
        """Reasons not to trust its speed."""
        return tuple(reason for repeat in self.used for reason in repeat.timing_suspect)

    @property
    def times_trusted(self) -> bool:
        """Whether its speed may be ranked, plotted as sound or counted as an answer."""
        return self.status == "ok" and bool(self.repeats) and not self.timing_suspect


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadersRecord:
    """One call of `bench loaders`.

    Args:
        source: Where the images come from.
        fingerprint: Hash of the images.
        image_size: (height, width).
        augmentation: The policy.
        device: "cuda" or "cpu".
        scale: "full" or "cpu", which decides the group as for `bench run`.
        precision: Precision of the delivered images: "fp32" or "bf16".
        repeat_s: Minimum duration of a repeat.
        started: ISO 8601 time.
        environment: Machine and software, from `bench.machine.environment.describe`.
        bandwidth_gb_per_s: Memory bandwidth of the device, 10^9 bytes read or written per second.
        series: One per batch size and pipeline.
        plugins: Origins of entries from plugins: "mine.py" and the hash of its source.
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


def read_loaders(folder: Path) -> LoadersRecord | None:
    """The measurements of `bench loaders` in a group; None if there are none.

    Raises:
        UnusableFile: The file cannot be read or is invalid.
    """
    path = folder / LOADERS_FILE
    if not path.exists():
        return None
    try:
        plain = msgspec.json.decode(read_file(path, LARGEST))
        series = [_series(row) for row in plain["rows"]]
        return sanitize(msgspec.convert(plain | {"series": series}, LoadersRecord))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnusableFile(
            path,
            f"is not a record of `bench loaders` ({error})",
            "run `bench loaders` again, or delete the file",
        ) from error


def _series(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a series, from a row that also holds derived values."""
    memory = {name: row[name] for name in ("host_gib", "torch_gib", "device_gib")}
    return row | {"draws": row["draws_by_op"], "memory": memory}
