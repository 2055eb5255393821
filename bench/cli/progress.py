"""Progress of a grid: a live view on a terminal, plain lines elsewhere, JSON lines for programs."""

import errno
import io
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cell import Run
from bench.errors import UsageError, check_choice
from bench.executors.base import Planned, Reporter, TimeLeft, duration, first_line, peak_gib
from bench.process import signals_allowed
from bench.record import Memory, Point, Record
from bench.text import count, printable

READER_GONE = (errno.EPIPE, errno.EIO)  # a closed pipe, a closed terminal
REFRESHES_PER_S = 2
BAR_WIDTH = 30
PLAIN_WIDTH = 100
STYLES = {"ok": "green", "skipped": "dim", "interrupted": "yellow"}
PROBLEMS = ("diverged", "oom", "timeout", "crashed", "interrupted")


class Output(io.TextIOBase):
    """Standard output that survives its reader, such as a closed terminal or `| head`.

    Each text is flushed at once. When the reader is gone, the command is stopped as by Ctrl-C
    (unless it runs under nohup), and what it still prints goes to standard error.
    """

    def __init__(self, file: TextIO) -> None:
        self._file: TextIO | None = file

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._file.encoding if self._file else "utf-8"

    def isatty(self) -> bool:
        return self._file is not None and self._file.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Writes and flushes; can be interrupted while the reader does not read."""
        while self._file is not None:
            try:
                with signals_allowed(earlier=False):
                    self._file.write(text)
                    self._file.flush()
                break
            except KeyboardInterrupt:  # the reader may never read again
                self._leave(self._file)
                raise
            except OSError as error:
                if error.errno not in READER_GONE:
                    raise
                first = self._file is not sys.__stderr__
                self._leave(self._file)
                if first and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                    signal.raise_signal(signal.SIGINT)
        return len(text)

    def _leave(self, file: TextIO) -> None:
        discard(file)
        self._file = None if file is sys.__stderr__ else sys.__stderr__


def discard(file: TextIO) -> None:
    """Discards all further output of a file, and what is still buffered."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)


def reporter(form: str, *, quiet: bool) -> Reporter:
    """Reports on standard output: "auto" for people, "json" for programs.

    Raises:
        UsageError: The form is unknown, or JSON is to be quiet.
    """
    check_choice("value of --progress", form, ("auto", "json"))
    if form == "auto":
        return TextReporter(quiet=quiet)
    if quiet:
        raise UsageError("--progress json reports every event: leave out --quiet")
    return JsonReporter()


@dataclass(kw_only=True)
class Running:
    """A run that has started, and its last epoch."""

    run: Run
    position: int  # in the grid, from 1
    total: int  # number of runs of the grid
    started: float = field(default_factory=time.monotonic)
    point: Point | None = None  # last point of its curve
    memory: Memory | None = None  # peak so far

    @property
    def passed_s(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.started


class _GridState:
    """Progress of the grid, for both reporters."""

    def __init__(self) -> None:
        self._left = TimeLeft()
        self._waiting: list[Run] = []  # not ended, including running ones
        self._running: dict[str, Running] = {}  # by id, the latest to report last
        self._memory: Memory | None = None
        self._training_s = 0.0
        self._suspect = 0  # successful runs with suspect times
        self._started = time.monotonic()

    def _take_plan(self, plan: Planned) -> None:
        for record in plan.done:
            self._left.learn(record)
            self._suspect += not record.times_trusted
        self._waiting = list(plan.todo)

    def _take_epoch(self, run: Run, point: Point) -> Memory | None:
        memory, self._memory = self._memory, None
        running = self._running.pop(run.id, None)
        if running is None:
            return memory
        running.point, running.memory = point, memory or running.memory
        self._running[run.id] = running
        return running.memory

    def _take_record(self, record: Record) -> None:
        if self._running.pop(record.run_id, None):  # not trained by another process
            self._training_s += record.timings.train_s
        self._suspect += record.status == "ok" and not record.times_trusted
        self._left.learn(record)
        self._waiting = [run for run in self._waiting if run.id != record.run_id]

    def _left_s(self) -> float | None:
        """Expected seconds until all runs have ended."""
        elapsed_s = {run_id: running.passed_s for run_id, running in self._running.items()}
        return self._left.of_all(self._waiting, elapsed_s)

    def memory(self, peak: Memory) -> None:
        self._memory = peak


class JsonReporter(_GridState):
    """Writes one JSON object per event and line to standard output; see docs/reference.md."""

    def __init__(self, *, file: TextIO | None = None) -> None:
        super().__init__()
        self._file = file or cast(TextIO, Output(sys.stdout))

    def progress(self, text: str) -> None:
        self._event("progress", text=text)

    def notice(self, text: str) -> None:
        self._event("notice", text=text)

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        for text in plan.notices:
            self.notice(text)
        self._take_plan(plan)
        self._event(
            "plan",
            folder=str(plan.folder),
            todo=[_run_fields(run) for run in plan.todo],
            done=[_record_fields(record) for record in plan.done],
            failed=[_record_fields(record) for record in plan.failed],
            skipped=[_run_fields(run) | {"reason": reason} for run, reason in plan.skipped],
            left_s=self._left_s(),
        )

    def run_started(self, run: Run, position: int, total: int) -> None:
        self._running[run.id] = Running(run=run, position=position, total=total)
        self._event(
            "started", **_run_fields(run), position=position, total=total, left_s=self._left_s()
        )

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        memory = self._take_epoch(run, point)
        gib = peak_gib(memory) if memory else None
        values = msgspec.to_builtins(point)
        self._event("epoch", **_run_fields(run), epochs=epochs, **values, memory_gib=gib)

    def run_finished(self, record: Record) -> None:
        self._take_record(record)
        metrics, speed = record.metrics, record.throughput
        self._event(
            "finished",
            **_record_fields(record),
            accuracy=metrics.accuracy if metrics else None,
            macro_f1=metrics.macro_f1 if metrics else None,
            time_to_accuracy_s=metrics.time_to_accuracy_s if metrics else None,
            images_per_s=speed.median if speed else None,
            stall_pct=speed.stall_pct if speed else None,
            memory_gib=peak_gib(record.memory),
            total_s=record.timings.total_s,
            timing_suspect=record.timing_suspect,
            reason=first_line(record),
            log=record.error.log if record.error else "",
        )

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        self._event(
            "summary",
            counts={status: number for status, number in counts.items() if number},
            left=len(self._waiting),
            passed_s=time.monotonic() - self._started,
            training_s=self._training_s,
            table=str(table),
            command=command,
        )

    def close(self) -> None:
        """Nothing is left open."""

    def _event(self, event: str, **fields: Any) -> None:
        text = msgspec.json.encode({"event": event} | fields, enc_hook=str).decode()
        self._file.write(f"{text}\n")
        self._file.flush()


def _run_fields(run: Run) -> dict[str, Any]:
    return {"run_id": run.id, "name": run.name}


def _record_fields(record: Record) -> dict[str, Any]:
    return {"run_id": record.run_id, "name": record.name, "status": record.status}


class TextReporter(_GridState):
    """Shows a grid's progress to people on standard output; `quiet` limits it to problems.

    A terminal is detected unless `terminal` is given, and `NO_COLOR` is honoured.
    """

    def __init__(
        self, *, file: TextIO | None = None, terminal: bool | None = None, quiet: bool = False
    ) -> None:
        super().__init__()
        self._console = Console(
            file=file or cast(TextIO, Output(sys.stdout)), force_terminal=terminal, highlight=False
        )
        self._quiet = quiet
        self._notices: list[str] = []
        self._live: Live | None = None

    def progress(self, text: str) -> None:
        if not self._quiet:
            self._line(text)

    def notice(self, text: str) -> None:
        """Frames an important message, and repeats it in the summary."""
        self._notices.append(text)
        self._framed(text)

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        for text in plan.notices:
            self.notice(text)
        self._take_plan(plan)
        if self._quiet and not every:
            return
        parts = {"to run": plan.todo, "done": plan.done, "failed before": plan.failed,
                 "cannot run here": plan.skipped}  # fmt: skip
        counts = ", ".join(f"{len(runs)} {word}" for word, runs in parts.items() if runs)
        self._line(f"{counts or 'nothing to run'}{self._left_text()} | results in {plan.folder}")
        for run in plan.todo if every else ():
            self._line(f"  to run   {run.name}")
        for record in plan.failed:
            self._line(f"  failed   {record.name}: {record.status} (repeat with --retry-failed)")
        for run, reason in plan.skipped:
            self._line(f"  skipped  {run.name}: {reason}")

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run starts; on a terminal the live view shows it."""
        self._running[run.id] = Running(run=run, position=position, total=total)
        if self._live is not None:
            self._live.refresh()
        elif self._quiet:
            pass
        elif self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._view,
                console=self._console,
                refresh_per_second=REFRESHES_PER_S,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start(refresh=True)
        else:
            self._line(f"[{position}/{total}] {run.name} started{self._left_text()}")

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch ended; only the live view shows it."""
        self._take_epoch(run, point)
        if self._live is not None:
            self._live.refresh()

    def run_finished(self, record: Record) -> None:
        self._take_record(record)
        if self._quiet and record.status not in PROBLEMS:
            return
        self._line(_outcome(record), STYLES.get(record.status, "red"))
        if record.error is not None and record.error.log:
            self._line(f"           log: {record.error.log}")

    def summary(self, counts: Mapping[str, int], table: Path, command: str) -> None:
        self.close()
        for text in () if self._quiet else self._notices:
            self._framed(text)
        statuses = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        passed, training = map(duration, (time.monotonic() - self._started, self._training_s))
        spent = f"{passed}, of which {training} on the training clocks"
        self._line(f"{count(sum(counts.values()), 'run')}: {statuses or 'none'} | {spent}")
        if self._waiting:
            self._line(f"{count(len(self._waiting), 'run is', 'runs are')} left")
        failed = sum(counts.get(status, 0) for status in PROBLEMS if status != "interrupted")
        if failed:
            self._line(f"{failed} failed: --retry-failed trains them again")
        if self._suspect:
            self._line(f"{self._suspect} with suspect times: --retry-suspect trains them again")
        self._line(f"table: {table}")
        unfinished = self._waiting or any(number for status, number in counts.items()
                                          if status != "ok")  # fmt: skip
        self._line(f"{'to continue' if unfinished else 'to repeat'}: {command}")

    def close(self) -> None:
        """Removes the live view; safe to call more than once."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self) -> RenderableType:
        """The live view: a bar over all runs, and the run that reported last."""
        running = list(self._running.values())
        if not running:
            return Text()
        shown, others = running[-1], len(running) - 1
        ended = max(0, max(each.position for each in running) - len(running))
        header = Table.grid(padding=(0, 1))
        header.add_row(
            ProgressBar(total=shown.total, completed=ended, width=BAR_WIDTH),
            f"{ended}/{shown.total}{self._left_text()}",
        )
        name = shown.run.name + (f" and {others} more" if others else "")
        return Group(header, Text(name, "bold"), Text(" | ".join(_live_values(shown))))

    def _left_text(self) -> str:
        left_s = self._left_s()
        return "" if left_s is None else f", about {duration(left_s)} left"

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(printable(text), style), soft_wrap=True)

    def _framed(self, text: str) -> None:
        rule = "*" * PLAIN_WIDTH
        self._line(f"{rule}\nNOTICE: {text}\n{rule}", "bold yellow")


def _live_values(running: Running) -> list[str]:
    point = running.point
    values = [f"epoch {point.epoch if point else 0}/{running.run.cell.epochs}"]
    if point is None:
        values.append("building, warming up")
    else:
        if point.train_loss is not None:
            values.append(f"loss {point.train_loss:.3f}")
        if point.validation_accuracy is not None:
            values.append(f"accuracy {point.validation_accuracy:.1%}")
        values.append(f"{point.images_per_s:,.0f} images/s")
    gib = peak_gib(running.memory) if running.memory else None
    if gib is not None:
        values.append(f"{gib:.1f} GiB")
    return [*values, duration(running.passed_s)]


def _outcome(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status:<10} {record.name}: {first_line(record)}"
    parts = [f"{'ok':<10} {record.name}"]
    if record.metrics is not None:
        parts.append(f"accuracy {record.metrics.accuracy:.1%}")
        if record.cell.holds_out:
            reached_s = record.metrics.time_to_accuracy_s
            when = "not reached" if reached_s is None else f"in {reached_s:.1f} s"
            parts.append(f"{record.cell.target_accuracy:.0%} {when}")
    if record.throughput is not None:
        parts.append(f"{record.throughput.median:.0f} images/s")
    suspect = f" (timing suspect: {'; '.join(record.timing_suspect)})"
    parts.append(duration(record.timings.total_s) + suspect * bool(record.timing_suspect))
    return ", ".join(parts)
