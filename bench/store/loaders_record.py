"""`loaders.json`: measurements of `bench loaders`, per pipeline and batch size."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
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
        cpu_s_per_1000: CPU time of all processes per thousand images, after the first batches.
        page_cache: "warm", "partly" or "cold" before it, by whether the image files were in memory;
            "unknown"; "" if it reads an array.
    """

    images: int
    batch_s: float
    images_per_s: float
    timing_suspect: tuple[str, ...] = ()
    cpu_s_per_1000: float | None = None
    page_cache: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One pipeline at one batch size, measured in a separate process.

    Args:
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
        processes_gib: As `memory.host_gib`, of the process and all its descendants; what they share
            counts once, and mapped files don't count.
        cold: A repeat before the others, after emptying the page cache.
        differs: Op to words on how it differs from our definition, for those that do.
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
    processes_gib: float | None = None
    cold: Repeat | None = None
    differs: Mapping[str, str] = field(default_factory=dict)

    @property
    def undisturbed(self) -> tuple[Repeat, ...]:
        """The repeats that nothing disturbed."""
        return tuple(repeat for repeat in self.repeats if not repeat.timing_suspect)

    @property
    def used(self) -> tuple[Repeat, ...]:
        """The repeats that its speed is computed from: the undisturbed ones, or all if too few."""
        return self.undisturbed if len(self.undisturbed) >= LEAST_REPEATS else self.repeats

    @property
    def timing_suspect(self) -> tuple[str, ...]:
        """Reasons not to trust its speed."""
        return tuple(reason for repeat in self.used for reason in repeat.timing_suspect)

    @property
    def measured(self) -> bool:
        """Whether it has a speed: it did not fail, though it may have been interrupted."""
        return self.status in ("ok", "interrupted") and bool(self.repeats)

    @property
    def times_trusted(self) -> bool:
        """Whether its speed may be ranked, plotted as sound or counted as an answer."""
        return self.status == "ok" and bool(self.repeats) and not self.timing_suspect

    @property
    def quartiles(self) -> list[float]:
        """Quartiles of its images/s."""
        rates = [repeat.images_per_s for repeat in self.used]
        return statistics.quantiles(rates, method="inclusive") if len(rates) > 1 else 3 * rates

    @property
    def cold_images_per_s(self) -> float | None:
        """Its speed with an empty page cache, if it was measured without a problem."""
        return self.cold.images_per_s if self.cold and not self.cold_problem else None

    @property
    def cold_problem(self) -> str:
        """Why its speed with an empty page cache is unknown, although it was requested."""
        if self.cold is None:
            return ""
        if self.cold.page_cache != "cold":
            return f"cold speed unknown, as the page cache was not emptied ({self.cold.page_cache})"
        suspect = ", ".join(self.cold.timing_suspect)
        return suspect and f"cold speed suspect: {suspect}"

    @property
    def cpu_s_per_1000(self) -> float | None:
        """Median CPU time of all processes per thousand images."""
        found = [one.cpu_s_per_1000 for one in self.used if one.cpu_s_per_1000 is not None]
        return statistics.median(found) if found else None

    @property
    def compile_s(self) -> float | None:
        """Seconds of the first batch beyond those of a later one, if it compiles."""
        if not self.compiled or not self.used:
            return None
        warm_s = statistics.median(repeat.batch_s for repeat in self.used)
        return max(0.0, (self.first_batch_s or 0.0) - warm_s)

    @property
    def apart(self) -> bool:
        """Whether it does other work by the policy's name: ops of its own, or a draw per batch."""
        return bool(self.differs) or self.shared_draws.startswith("per batch")

    @property
    def shared_draws(self) -> str:
        """ "per sample", or the ops that draw once per batch; "" if unknown."""
        shared = [op for op, kind in self.draws.items() if kind != "per sample"]
        if shared:
            return f"per batch: {', '.join(shared)}"
        return "per sample" if self.draws or self.status == "ok" else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadersRecord:
    """One call of `bench loaders`.

    Args:
        image_size: (height, width).
        scale: "full" or "cpu", which decides the group as for `bench run`.
        precision: Precision of the delivered images: "fp32" or "bf16".
        repeat_s: Minimum duration of a repeat.
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

    @property
    def images_per_s(self) -> dict[str, dict[int, float]]:
        """Trusted median images per second, by pipeline and batch size."""
        measured = [one for one in self.series if one.measured]
        found: dict[str, dict[int, float]] = {one.pipeline: {} for one in measured}
        for one in (one for one in measured if one.times_trusted):
            found[one.pipeline][one.batch_size] = one.quartiles[1]
        return found

    @property
    def page_cache(self) -> str:
        """ "page cache warm": whether the image files were in memory; "" if none were read."""
        states = {one.page_cache for each in self.series for one in each.used} - {""}
        return f"page cache {' and '.join(sorted(states))}" if states else ""


def ranks(series: Sequence[Series]) -> dict[tuple[str, int], str]:
    """The rank of each trusted speed among its equals, by pipeline and batch size: "2", or "2-3".

    Equals have the same batch size and read the same; what does other work by the name has no rank.
    Untrusted speeds count as possibly higher than measured, since a disturbance only slows down.
    """
    found: dict[tuple[str, int], str] = {}
    measured = [one for one in series if one.measured and not one.apart]
    for equal in {(one.batch_size, one.reads) for one in measured}:
        here = [one for one in measured if (one.batch_size, one.reads) == equal]
        good = [one for one in here if one.times_trusted]
        spans = [(1, len(here))] * len(good)
        if all(len(one.used) >= LEAST_REPEATS for one in good):
            maybe = [one for one in here if not one.times_trusted]
            intervals = [(one.quartiles[0], one.quartiles[2]) for one in good]
            spans = spans_of(intervals + [(one.quartiles[0], math.inf) for one in maybe])
        for one, (first, last) in zip(good, spans, strict=False):
            text = str(first) if first == last else f"{first}-{last}"
            found[one.pipeline, one.batch_size] = text
    return found


def spans_of(intervals: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """The highest and lowest possible rank of each interval (low, high); higher is better."""
    lows, highs = zip(*intervals, strict=True) if intervals else ((), ())
    return [
        (1 + sum(other > high for other in lows), sum(other >= low for other in highs))
        for low, high in intervals
    ]


def as_json(
    record: LoadersRecord, title: str, notes: Sequence[str], rows: Iterable[dict[str, Any]]
) -> str:
    """The whole record, each series with the derived values of its row."""
    whole: dict[str, Any] = msgspec.to_builtins(record)
    series = {(one["pipeline"], one["batch_size"]): one for one in whole.pop("series")}
    whole |= {"title": title, "notes": notes, "rows": []}
    for row in rows:
        one = series[row["pipeline"], row["batch_size"]]
        more = {f"{name}_by_op": one[name] for name in ("draws", "differs")}
        more |= {name: one[name] for name in ("compiled", "repeats", "cold")}
        whole["rows"].append(row | more)
    return json.dumps(whole, indent=1) + "\n"


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
    ops = {"draws": row["draws_by_op"], "differs": row.get("differs_by_op", {})}
    return row | ops | {"memory": memory}
