"""What a person sees while a grid runs: a live view on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import TextIO, cast

from rich.console import Console as RichConsole
from rich.panel import Panel
from rich.text import Text

from bench.cell import Run
from bench.console_base import (
    Planned,
    Reporter,
    Screen,
    TimeLeft,
    duration,
    first_line,
    overhead,
    terminal,
)
from bench.console_json import JsonConsole
from bench.console_live import LiveArea, Running, State, lines
from bench.errors import UsageError
from bench.outlet import Outlet
from bench.printable import printable
from bench.record import Memory, Point, Record
from bench.wording import count
from pipelines.catalog import unknown_name

STYLES = {"ok": "green", "skipped": "dim", "interrupted": "yellow"}
PLAIN_WIDTH = 100
PROBLEMS = ("diverged", "oom", "timeout", "crashed", "interrupted")


class Console:
    """Shows a grid's progress to people. `plan` comes first, `summary` last.

    Args:
        file: Where to; standard output if left out.
        terminal: Whether it is a terminal; found out if left out. `NO_COLOR` is honoured.
        quiet: Whether to show problems and the summary only.
    """

    def __init__(
        self, *, file: TextIO | None = None, terminal: bool | None = None, quiet: bool = False
    ) -> None:
        self._rich = RichConsole(
            file=file or cast(TextIO, Outlet(sys.stdout)), force_terminal=terminal, highlight=False
        )
        self._quiet = quiet
        self._live = self._rich.is_terminal and not self._rich.is_dumb_terminal and not quiet
        self._lock = RLock()
        self._left = TimeLeft()
        self._waiting: list[Run] = []
        self._training_s = 0.0
        self._began = time.monotonic()
        self._notices: list[str] = []
        self._area: LiveArea | None = None
        self._running: dict[str, Running] = {}  # the one last heard of at the end
        self._memory: Memory | None = None

    def progress(self, text: str) -> None:
        """One line about work before the first run, of a download for example."""
        if not self._quiet:
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
        if self._quiet and not every:
            return
        counts = {"to run": plan.todo, "done": plan.done, "failed before": plan.failed,
                  "cannot run here": plan.skipped}  # fmt: skip
        said = ", ".join(f"{len(runs)} {word}" for word, runs in counts.items() if runs)
        self._line(f"{said or 'nothing to run'}{self._left_text()} | results in {plan.folder}")
        for run in plan.todo if every else ():
            self._line(f"  to run   {run.name}")
        for record in plan.failed:
            self._line(f"  failed   {record.name}: {record.status} (--retry-failed tries again)")
        for run, reason in plan.skipped:
            self._line(f"  skipped  {run.name}: {reason}")

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run begins; on a terminal the live view shows it."""
        self._running[run.id] = Running(run=run, position=position, total=total)
        if self._live and self._area is None:
            self._area = LiveArea(self._rich, self._lines, self._lock)
            self._area.start()
        elif self._area is not None:
            self._area.refresh()
        elif not self._quiet:
            self._line(f"[{position}/{total}] {run.name} started{self._left_text()}")

    def memory(self, peak: Memory) -> None:
        """Kept for the epoch that comes next."""
        self._memory = peak

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch ended; plain output leaves epochs out."""
        if running := self._running.pop(run.id, None):
            running.point, running.memory, self._memory = point, self._memory, None
            self._running[run.id] = running
        if self._area is not None:
            self._area.refresh()

    def run_finished(self, record: Record) -> None:
        """A run ended; says how, and on a failure where to read more."""
        if self._running.pop(record.run_id, None):  # what another trained meanwhile is not ours
            self._training_s += record.timings.train_s
        self._left.learn(record)
        self._waiting = [run for run in self._waiting if run.id != record.run_id]
        if self._quiet and record.status not in PROBLEMS:
            return
        self._line(_outcome(record), STYLES.get(record.status, "red"))
        if record.error is not None and record.error.log:
            self._line(f"           log: {record.error.log}")

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        """How the grid ended, where the table is, and the command to go on with."""
        self.close()
        for text in () if self._quiet else self._notices:
            self._framed(text)
        total = sum(counts.values())
        said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        told = overhead(time.monotonic() - self._began, self._training_s)
        self._line(f"{count(total, 'run')}: {said or 'none'} | {told}")
        if self._waiting:
            self._line(f"{count(len(self._waiting), 'run is', 'runs are')} left")
        failed = sum(counts.get(status, 0) for status in PROBLEMS if status != "interrupted")
        if failed:
            self._line(f"{failed} failed: tried again only with --retry-failed")
        self._line(f"table: {table}")
        wanted = self._waiting or any(counts.get(status) for status in counts if status != "ok")
        verb = "to go on" if wanted else "to run what is added later"
        self._line(f"{verb}: {command}")

    def close(self) -> None:
        """Takes the live view away; safe to call more than once."""
        if self._area is not None:
            self._area.stop()
            self._area = None

    def _lines(self, width: int) -> list[Text]:
        """What the live view shows."""
        if not self._running:
            return []
        shown = list(self._running.values())[-1]
        state = State(
            run=shown.run,
            position=max(running.position for running in self._running.values()),
            total=shown.total,
            passed_s=shown.passed_s,
            left_s=self._left_s(),
            point=shown.point,
            memory=shown.memory,
            others=len(self._running) - 1,
        )
        return lines(state, width)

    def _left_s(self) -> float | None:
        """Seconds until all is done, if as many go on being trained at once as now."""
        passed_s = sum(running.passed_s for running in self._running.values())
        left_s = self._left.of_all(self._waiting, passed_s)
        return None if left_s is None else left_s / max(1, len(self._running))

    def _left_text(self) -> str:
        left_s = self._left_s()
        return "" if left_s is None else f", about {duration(left_s)} left"

    def _line(self, text: str, style: str = "") -> None:
        with self._lock:
            self._rich.print(Text(printable(text), style), soft_wrap=True)

    def _framed(self, text: str) -> None:
        if self._rich.is_terminal:
            with self._lock:
                self._rich.print(Panel(Text(printable(text)), title="NOTICE", style="bold yellow"))
            return
        rule = "*" * PLAIN_WIDTH
        self._line(f"{rule}\nNOTICE: {text}\n{rule}")


def reporter(form: str, *, quiet: bool) -> Reporter:
    """What shows a grid on standard output.

    Args:
        form: "auto" for people, "json" for programs.
        quiet: Whether people see problems and the summary only.

    Raises:
        UsageError: An unknown form, or quiet JSON.
    """
    if form not in ("auto", "json"):
        raise UsageError(unknown_name("value of --progress", form, ["auto", "json"]))
    if form == "auto":
        return Console(quiet=quiet)
    if quiet:
        raise UsageError("--progress json tells every event: leave out --quiet")
    return JsonConsole()


def _outcome(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status:<10} {record.name}: {first_line(record)}"
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
    return ", ".join([*parts, duration(record.timings.total_s)]) + suspect


__all__ = ["Console", "Reporter", "Screen", "TimeLeft", "reporter", "terminal"]
