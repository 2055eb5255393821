"""A job, which is sent to a worker, and the builder of its record."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.cell import Run
from bench.record import (
    Compiled,
    Conditions,
    Failure,
    Memory,
    Metrics,
    Point,
    Reads,
    Record,
    Status,
    Throughput,
    Timings,
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to train, as sent to a worker.

    Args:
        plugins: How to load the plugins that the run needs, by origin.
        exclusive: Whether no other exclusive job of the host may train at the same time.
    """

    run: Run
    folder: str
    data_dir: str
    command: str = ""
    profile: bool = False
    keep_weights: bool = False
    plugins: Mapping[str, str] = field(default_factory=dict)
    exclusive: bool = False


@dataclass(kw_only=True)
class RecordBuilder:
    """Collects the results of a run, so that a failed run keeps all it had so far."""

    job: Job
    curve: list[Point] = field(default_factory=list)
    timings: dict[str, float | None] = field(default_factory=dict)
    metrics: Metrics | None = None
    throughput: Throughput | None = None
    memory: Memory = field(default_factory=Memory)
    conditions: Conditions = field(default_factory=Conditions)
    energy_j: float | None = None
    parameters: int | None = None
    augmentation_draws: dict[str, str] = field(default_factory=dict)
    augmentation_differs: dict[str, str] = field(default_factory=dict)
    reads: Reads = "array"
    stepping: str = ""
    compiled: Compiled = ""
    timing_suspect: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    image_counts: dict[str, int] = field(default_factory=dict)  # by field of the record
    _start: float = field(default_factory=time.perf_counter)
    _started: str = field(default_factory=lambda: _now())

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds of the `with` block to the timing called `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = (self.timings.get(name) or 0.0) + time.perf_counter() - start

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Leaves the seconds of the `with` block out of `total_s`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - start

    def record(self, status: Status, error: Failure | None = None) -> Record:
        """The record of the run so far."""
        self.timings["total_s"] = time.perf_counter() - self._start
        run = self.job.run
        return Record(
            run_id=run.id,
            cell=run.cell,
            seed=run.seed,
            versions=run.versions,
            fingerprint=run.fingerprint,
            status=status,
            error=error,
            timings=Timings(**self.timings),  # type: ignore[arg-type]
            curve=tuple(self.curve),
            metrics=self.metrics,
            throughput=self.throughput,
            memory=self.memory,
            conditions=self.conditions,
            energy_j=self.energy_j,
            parameters=self.parameters,
            augmentation_draws=self.augmentation_draws,
            augmentation_differs=self.augmentation_differs,
            reads=self.reads,
            stepping=self.stepping,
            compiled=self.compiled,
            timing_suspect=tuple(self.timing_suspect),
            environment=self.environment,
            started=self._started,
            finished=_now(),
            command=self.job.command,
            **self.image_counts,  # type: ignore[arg-type]
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
