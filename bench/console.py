"""What a person sees while a grid runs: a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console as RichConsole
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from bench.cell import Run
from bench.record import Point, Record

STYLES = {"ok": "green", "skipped": "dim", "interrupted": "yellow"}
PLAIN_WIDTH = 100


class Planned(Protocol):
    """What the console shows of a plan."""

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


def _likeness(architecture: str, pipeline: str) -> tuple[tuple[str, ...], ...]:
    return (architecture, pipeline), (architecture,), ()


class Console:
    """Shows a grid's progress. `plan` comes first, `summary` last.

    Args:
        file: Where to; standard output if left out.
        terminal: Whether it is a terminal; found out if left out. `NO_COLOR` is honoured.
    """

    def __init__(self, *, file: TextIO | None = None, terminal: bool | None = None) -> None:
        self._rich = RichConsole(file=file or sys.stdout, force_terminal=terminal, highlight=False)
        self._left = TimeLeft()
        self._waiting: list[Run] = []
        self._began = time.monotonic()
        self._run_began = self._began
        self._notices: list[str] = []
        self._total = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def progress(self, text: str) -> None:
        """One line about work before the first run, of a download for example."""
        self._line(text)

    def notice(self, text: str) -> None:
        """Something that must not be missed: framed now, and again in the summary."""
        self._notices.append(text)
        self._framed(text)

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        """What will run, what is done, what cannot run here.

        Args:
            plan: What is to be done.
            every: Whether to name every run that will be trained (for a dry run).
        """
        for text in plan.notices:
            self.notice(text)
        for record in plan.done:
            self._left.learn(record)
        self._waiting = list(plan.todo)
        self._total = len(plan.todo)
        counts = {"to run": plan.todo, "done": plan.done, "failed before": plan.failed,
                  "cannot run here": plan.skipped}  # fmt: skip
        said = ", ".join(f"{len(runs)} {word}" for word, runs in counts.items() if runs)
        left = self._left_text()
        self._line(f"{said or 'nothing to run'}{left} | results in {plan.folder}")
        for run in plan.todo if every else ():
            self._line(f"  to run   {run.name}")
        for record in plan.failed:
            self._line(f"  failed   {record.name}: {record.status} (--retry-failed tries again)")
        for run, reason in plan.skipped:
            self._line(f"  skipped  {run.name}: {reason}")

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run begins; on a terminal the bar shows it."""
        self._total = total
        self._run_began = time.monotonic()
        if not self._rich.is_terminal:
            self._line(f"[{position}/{total}] {run.name} started{self._left_text()}")
            return
        if self._bar is None:
            self._bar = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True, min_width=8)),
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                console=self._rich,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total, left="")
            self._bar.start()
        self._bar.update(
            self._task, completed=position - 1, description=run.name, left=self._bar_left()
        )

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch ended; plain output leaves epochs out."""
        if self._bar is None:
            return
        loss = "" if point.train_loss is None else f" loss {point.train_loss:.3f}"
        accuracy = point.validation_accuracy
        shown = "" if accuracy is None else f" accuracy {accuracy:.1%}"
        text = f"{run.name} epoch {point.epoch}/{epochs}{loss}{shown} {point.images_per_s:.0f} im/s"
        self._bar.update(self._task, description=text, left=self._bar_left())

    def run_finished(self, record: Record) -> None:
        """A run ended; says how, and on a failure where to read more."""
        self._left.learn(record)
        self._waiting = [run for run in self._waiting if run.id != record.run_id]
        self._line(_outcome(record), STYLES.get(record.status, "red"))
        if record.error is not None and record.error.log:
            self._line(f"           log: {record.error.log}")
        if self._bar is not None:
            self._bar.update(self._task, advance=1, left=self._bar_left())

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        """How the grid ended, where the table is, and the command to go on with."""
        self.close()
        for text in self._notices:
            self._framed(text)
        total = sum(counts.values())
        said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        passed = _duration(time.monotonic() - self._began)
        self._line(f"{total} runs: {said or 'none'} | {passed}")
        if self._waiting:
            self._line(f"{len(self._waiting)} runs are left")
        self._line(f"table: {table}")
        wanted = self._waiting or any(counts.get(status) for status in counts if status != "ok")
        verb = "to go on" if wanted else "to run what is added later"
        self._line(f"{verb}: {command}")

    def close(self) -> None:
        """Takes the bar away; safe to call more than once."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _bar_left(self) -> str:
        return self._left_text().removeprefix(", about ")

    def _left_text(self) -> str:
        known = [cost for run in self._waiting if (cost := self._left.of(run)) is not None]
        if not known:
            return ""
        left_s = sum(known) * len(self._waiting) / len(known)
        left_s -= min(time.monotonic() - self._run_began, known[0])
        return f", about {_duration(left_s)} left"

    def _line(self, text: str, style: str = "") -> None:
        self._rich.print(Text(text, style), soft_wrap=True)

    def _framed(self, text: str) -> None:
        if self._rich.is_terminal:
            self._rich.print(Panel(Text(text), title="NOTICE", style="bold yellow"))
            return
        rule = "*" * PLAIN_WIDTH
        self._line(f"{rule}\nNOTICE: {text}\n{rule}")


def _outcome(record: Record) -> str:
    if record.status != "ok":
        reason = record.error.message.splitlines()[0] if record.error else ""
        return f"{record.status:<10} {record.name}: {reason}"
    parts = [f"{'ok':<10} {record.name}"]
    if record.metrics is not None:
        reached_s = record.metrics.time_to_accuracy_s
        target = f"{record.cell.target_accuracy:.0%}"
        parts.append(f"accuracy {record.metrics.accuracy:.1%}")
        if reached_s is not None:
            parts.append(f"{target} in {reached_s:.1f} s")
        elif record.cell.protocol == "validation":
            parts.append(f"{target} not reached")
    if record.throughput is not None:
        parts.append(f"{record.throughput.median:.0f} images/s")
    suspect = (
        f" (timing suspect: {'; '.join(record.timing_suspect)})" if record.timing_suspect else ""
    )
    return ", ".join([*parts, _duration(record.timings.total_s)]) + suspect


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
