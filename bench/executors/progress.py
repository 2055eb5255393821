"""What shows a grid, and what it is shown: the parts that all ways of showing share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console as RichConsole

from bench.cell import Run
from bench.record import Memory, Point, Record


class Planned(Protocol):
    """What is shown of a plan."""

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
        """One line about work before the first run, of a download for example."""

    def notice(self, text: str) -> None:
        """Something that must not be missed."""

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        """What will run, what is done, what cannot run here; `every` names each run (a dry run)."""

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run begins."""

    def memory(self, peak: Memory) -> None:
        """What the present run has taken so far; comes before the epoch that it was read after."""

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch ended."""

    def run_finished(self, record: Record) -> None:
        """A run ended, or could not begin."""

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        """How the grid ended, where the table is, and the command to go on with."""

    def close(self) -> None:
        """Leaves the screen tidy; safe to call more than once."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """What output may use.

    Args:
        width: Characters a line; None where lines may be of any length.
        color: Whether bold and colours are understood and wanted.
    """

    width: int | None
    color: bool


def terminal() -> Screen:
    """Standard output's width and colours; a file or pipe has neither. `NO_COLOR` is honoured."""
    console = RichConsole()
    if not console.is_terminal:
        return Screen(width=None, color=False)
    return Screen(width=console.width, color=not console.no_color)


class TimeLeft:
    """Estimates the seconds that runs will take from the seconds that finished ones took.

    A run is judged by the finished runs most like it: same architecture and pipeline, same
    architecture, any. Costs are per epoch, so that budgets may differ.
    """

    def __init__(self) -> None:
        self._costs_s: dict[tuple[str, ...], list[float]] = {}

    def learn(self, record: Record) -> None:
        """Takes a finished run into account; runs that ended early say nothing."""
        if record.status != "ok":
            return
        for key in _likeness(record.cell.architecture, record.cell.pipeline):
            self._costs_s.setdefault(key, []).append(record.timings.total_s / record.cell.epochs)

    def of(self, run: Run) -> float | None:
        """Seconds that a run will take; None while nothing is known."""
        for key in _likeness(run.cell.architecture, run.cell.pipeline):
            if costs_s := self._costs_s.get(key):
                return run.cell.epochs * sum(costs_s) / len(costs_s)
        return None

    def of_all(self, waiting: Sequence[Run], passed_s: float) -> float | None:
        """Seconds until all of `waiting` are done, of which the first has run for `passed_s`.

        Runs of which nothing is known count as much as the mean of the others.
        """
        known = [cost_s for run in waiting if (cost_s := self.of(run)) is not None]
        if not known:
            return None
        return sum(known) * len(waiting) / len(known) - min(passed_s, known[0])


def _likeness(architecture: str, pipeline: str) -> Iterator[tuple[str, ...]]:
    yield from ((architecture, pipeline), (architecture,), ())


def peak_gib(memory: Memory) -> float | None:
    """The figure for people: that of tensors on a GPU, that of the process on a CPU."""
    return memory.host_gib if memory.torch_gib is None else memory.torch_gib


def duration(seconds: float) -> str:
    """ "59 s", "1 min 05 s" or "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def overhead(wall_s: float, training_s: float) -> str:
    """A grid's wall time against the sum of its runs' training clocks, and their ratio.

    "1 min 40 s, of which 50 s on the training clocks (2.00 x)"; the first part alone where nothing
    was trained.
    """
    if training_s <= 0:
        return duration(wall_s)
    return (
        f"{duration(wall_s)}, of which {duration(training_s)} on the training clocks "
        f"({wall_s / training_s:.2f} x)"
    )


def first_line(record: Record) -> str:
    """The first line of what went wrong; "" when nothing did."""
    lines = record.error.message.splitlines() if record.error else []
    return lines[0] if lines else ""
