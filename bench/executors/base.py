"""Interfaces of the runner: executors, which train runs, and reporters, which show progress."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from bench.cell import Run
from bench.job import Job
from bench.record import Memory, Point, Record

if TYPE_CHECKING:
    from bench.grid.plan import Plan
    from bench.report.answers import Answer


LONGEST_LINE = 500  # characters of an error that a terminal shows


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Callbacks of an executor, always called by the thread that runs it.

    Args:
        started: Called once per job, even if it is retried.
        epoch: Called after each epoch, with the peak memory so far; from the first epoch again if
            a job is retried.
        lost: Called with the record of an attempt whose worker or node was lost.
    """

    started: Callable[[Job], None]
    epoch: Callable[[Job, Point, Memory | None], None]
    lost: Callable[[Record], None] = lambda record: None


class Executor(Protocol):
    """Trains jobs, one or several at a time, and yields their records in the order they end."""

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """Yields one record per job, even if it fails.

        Closing the iterator stops the running jobs and all their processes; `interrupted` then
        returns their records.
        """

    def interrupted(self) -> list[Record]:
        """Records of started jobs that had not been yielded when the iterator was closed."""

    def close(self) -> None:
        """Releases all resources, even if nothing was run; can be called twice."""


class Reporter(Protocol):
    """Shows a grid's progress. `plan` comes first, `summary` last."""

    def progress(self, text: str) -> None:
        """Shows a line about other work, for example a download."""

    def notice(self, text: str) -> None:
        """Shows an important line."""

    def plan(self, plan: "Plan", *, every: bool = False) -> None:
        """Shows which runs are left, done or impossible here; `every` lists each run."""

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run has started."""

    def epoch(self, run: Run, point: Point, memory: Memory | None = None) -> None:
        """An epoch has ended; `memory` is the run's peak so far."""

    def run_finished(self, record: Record) -> None:
        """A run has ended, or could not start."""

    def summary(
        self, counts: Mapping[str, int], table: Path, command: str, answers: Sequence["Answer"] = ()
    ) -> None:
        """Shows the outcome, the answers of the group, the path of the table, and what to do."""

    def close(self) -> None:
        """Restores the terminal; can be called more than once."""


class TimeLeft:
    """Estimates how long runs will take from the duration of finished runs.

    A run takes a fixed time, and a time in proportion to its work. Both are means over the most
    similar finished runs: same architecture and pipeline, else same architecture, else any whose
    work is known.
    """

    def __init__(self, work: Mapping[str, float] = MappingProxyType({})) -> None:
        self._work = work
        self._finished: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}

    def learn(self, record: Record) -> None:
        """Takes a finished run into account, unless it ended early."""
        if record.status != "ok":
            return
        timings = record.timings
        scaling_s = min(timings.train_s + timings.evaluate_s, timings.total_s)
        for key, work in self._similar(record.run):
            values = (timings.total_s - scaling_s, scaling_s, work)
            self._finished.setdefault(key, []).append(values)

    def of(self, run: Run) -> float | None:
        """Expected duration of a run in seconds; None if unknown."""
        for key, work in self._similar(run):
            if finished := self._finished.get(key):
                fixed_s, scaling_s, finished_work = map(sum, zip(*finished, strict=True))
                return fixed_s / len(finished) + scaling_s * work / finished_work
        return None

    def _similar(self, run: Run) -> Iterator[tuple[tuple[str, ...], float]]:
        """Keys of similar runs, the most similar first, each with the run's work among them."""
        cell, work = run.cell, self._work.get(run.id)
        images = float(cell.epochs * (cell.train_images or 1))
        yield (cell.architecture, cell.pipeline), images
        yield (cell.architecture,), images
        if work is not None:
            yield (), work

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
    lines = record.error.message.strip().splitlines() if record.error else []
    line = lines[0] if lines else ""
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
