"""Interfaces of the runner: executors, which train runs, and reporters, which show progress."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from bench.cell import Run
from bench.job import Job
from bench.record import Memory, Point, Record


def _ignore(value: Memory | Record) -> None:
    """The default callback."""


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Callbacks of an executor, always called by the thread that runs it.

    Args:
        started: Called once per job, even if it is retried.
        epoch: Called after each epoch; from the first one again if a job is retried.
        memory: Called with the peak memory so far, just before `epoch`.
        lost: Called with the record of an attempt whose worker or node was lost.
    """

    started: Callable[[Job], None]
    epoch: Callable[[Job, Point], None]
    memory: Callable[[Memory], None] = _ignore
    lost: Callable[[Record], None] = _ignore


class Executor(Protocol):
    """Trains jobs, one or several at a time, and yields their records in the order they end."""

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """Yields one record per job, even if it fails.

        Closing the iterator stops the running jobs and all their processes; `interrupted` then
        returns their records.
        """
        ...

    def interrupted(self) -> list[Record]:
        """Records of started jobs that had not been yielded when the iterator was closed."""
        ...

    def close(self) -> None:
        """Releases all resources, even if nothing was run; can be called twice."""
        ...


class Planned(Protocol):
    """The parts of a plan that a reporter shows."""

    @property
    def folder(self) -> Path: ...
    @property
    def todo(self) -> Sequence[Run]: ...
    @property
    def done(self) -> Sequence[Record]: ...
    @property
    def failed(self) -> Sequence[Record]: ...
    @property
    def skipped(self) -> Sequence[tuple[Run, str]]: ...
    @property
    def notices(self) -> Sequence[str]: ...


class Reporter(Protocol):
    """Shows a grid's progress. `plan` comes first, `summary` last."""

    def progress(self, text: str) -> None:
        """Shows a line about other work, for example a download."""

    def notice(self, text: str) -> None:
        """Shows an important line."""

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        """Shows which runs are left, done or impossible here; `every` lists each run."""

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run has started."""

    def memory(self, peak: Memory) -> None:
        """Peak memory of a run so far, just before the call of `epoch`."""

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch has ended."""

    def run_finished(self, record: Record) -> None:
        """A run has ended, or could not start."""

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        """Shows the outcome, the path of the table, and the command to continue."""

    def close(self) -> None:
        """Restores the terminal; can be called more than once."""


class TimeLeft:
    """Estimates how long runs will take from the duration of finished runs.

    An estimate is the mean over the most similar finished runs (same architecture and pipeline,
    else same architecture, else any), scaled by the number of epochs.
    """

    def __init__(self) -> None:
        self._epoch_s: dict[tuple[str, ...], list[float]] = {}

    def learn(self, record: Record) -> None:
        """Takes a finished run into account, unless it ended early."""
        if record.status != "ok":
            return
        for key in _similar(record.cell.architecture, record.cell.pipeline):
            self._epoch_s.setdefault(key, []).append(record.timings.total_s / record.cell.epochs)

    def of(self, run: Run) -> float | None:
        """Expected duration of a run in seconds; None if unknown."""
        for key in _similar(run.cell.architecture, run.cell.pipeline):
            if epoch_s := self._epoch_s.get(key):
                return run.cell.epochs * sum(epoch_s) / len(epoch_s)
        return None

    def of_all(
        self, runs: Sequence[Run], elapsed_s: Mapping[str, float] = MappingProxyType({})
    ) -> float | None:
        """Expected seconds until all runs have ended; None if unknown.

        Runs of unknown duration are assumed to take as long as the mean of the others.

        Args:
            runs: The unfinished runs, in order.
            elapsed_s: Elapsed seconds of the running ones, by run id; the others are assumed to be
                spread evenly over the same number of workers.
        """
        known_s = [duration_s for run in runs if (duration_s := self.of(run)) is not None]
        if not known_s:
            return None
        mean_s = sum(known_s) / len(known_s)
        left_s = (max(0.0, (self.of(run) or mean_s) - elapsed_s.get(run.id, 0.0)) for run in runs)
        return sum(left_s) / max(1, len(elapsed_s))


def _similar(architecture: str, pipeline: str) -> Iterator[tuple[str, ...]]:
    yield from ((architecture, pipeline), (architecture,), ())


def peak_gib(memory: Memory) -> float | None:
    """Peak memory of tensors on a GPU, or of the process on a CPU."""
    return memory.host_gib if memory.torch_gib is None else memory.torch_gib


def duration(seconds: float) -> str:
    """ "59 s", "1 min 05 s" or "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def first_line(record: Record) -> str:
    """The first line of a record's error message; "" if it has none."""
    lines = record.error.message.splitlines() if record.error else []
    return lines[0] if lines else ""
