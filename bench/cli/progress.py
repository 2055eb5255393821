"""Progress of a grid: a live view on a terminal, plain lines elsewhere, JSON lines for programs."""

import errno
import io
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bench.cell import Run
from bench.errors import UsageError, check_choice
from bench.executors.base import Reporter, TimeLeft, duration, first_line, peak_gib
from bench.naming import Names
from bench.process import signals_allowed
from bench.record import FAILED, Memory, Point, Record
from bench.text import count, printable, shell_command, wrapped

if TYPE_CHECKING:
    from bench.grid.plan import Plan
    from bench.report.answers import Answer

READER_GONE = (errno.EPIPE, errno.EIO)  # a closed pipe, a closed terminal
REFRESHES_PER_S = 2
BAR_WIDTH = 30
PLAIN_WIDTH = 80  # of the answers where the width is unknown
INDENT = " " * 11  # below a run's name
STYLES = {"ok": "green", "skipped": "dim", "interrupted": "yellow"}


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
    """Reports on standard output: "auto" for people, "json" for programs."""
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
        self._names = Names()
        self._left = TimeLeft()
        self._waiting: list[Run] = []  # not ended, including running ones
        self._running: dict[str, Running] = {}  # by id, the latest to report last
        self._training_s = 0.0
        self._suspect = 0  # successful runs with suspect times
        self._started = time.monotonic()

    def _take_plan(self, plan: "Plan") -> None:
        self._names = plan.names
        self._left = TimeLeft(plan.work)
        for record in plan.done:
            self._left.learn(record)
            self._suspect += not record.times_trusted
        self._waiting = list(plan.todo)

    def _name(self, run: Run | Record) -> str:
        return self._names(run.name, run.cell)

    def _take_epoch(self, run: Run, point: Point, memory: Memory | None) -> None:
        if running := self._running.pop(run.id, None):
            running.point, running.memory = point, memory
            self._running[run.id] = running

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

    def _next(self, counts: Mapping[str, int], table: Path, command: str) -> dict[str, str]:
        """Commands that may follow this one, by what they are for."""
        results = str(table.parent.parent)
        failed = sum(counts.get(status, 0) for status in FAILED)
        found = {}
        if counts.get("ok"):
            found["page"] = shell_command(["bench", "report", results])
            found["curves"] = shell_command(["bench", "tensorboard", results])
        if self._suspect:
            found[f"{self._suspect} with suspect times"] = _with(command, "--retry-suspect")
        if failed:
            found[f"{failed} failed"] = _with(command, "--retry-failed")
        if self._waiting or counts.get("interrupted"):
            found["to continue"] = command
        return found


def _with(command: str, option: str) -> str:
    """The command with an option; one that trains a recorded run again needs none."""
    return command if {option, "--rerun"} & set(command.split()) else f"{command} {option}"


class JsonReporter(_GridState):
    """Writes one JSON object per event and line to standard output; see docs/reference.md."""

    def __init__(self, *, file: TextIO | None = None) -> None:
        super().__init__()
        self._file = file or cast(TextIO, Output(sys.stdout))

    def progress(self, text: str) -> None:
        self._event("progress", text=text)

    def notice(self, text: str) -> None:
        self._event("notice", text=text)

    def plan(self, plan: "Plan", *, every: bool = False) -> None:
        for text in plan.notices:
            self.notice(text)
        self._take_plan(plan)
        self._event(
            "plan",
            folder=str(plan.folder),
            todo=[self._run_fields(run) for run in plan.todo],
            done=[self._record_fields(record) for record in plan.done],
            failed=[self._record_fields(record) for record in plan.failed],
            skipped=[self._run_fields(run) | {"reason": reason} for run, reason in plan.skipped],
            left_s=self._left_s(),
        )

    def run_started(self, run: Run, position: int, total: int) -> None:
        self._running[run.id] = Running(run=run, position=position, total=total)
        self._event(
            "started",
            **self._run_fields(run),
            position=position,
            total=total,
            left_s=self._left_s(),
        )

    def epoch(self, run: Run, point: Point, memory: Memory | None = None) -> None:
        self._take_epoch(run, point, memory)
        gib = peak_gib(memory) if memory else None
        values = msgspec.to_builtins(point) | {"epochs": run.cell.epochs, "memory_gib": gib}
        self._event("epoch", **self._run_fields(run), **values)

    def run_finished(self, record: Record) -> None:
        self._take_record(record)
        metrics, speed = record.metrics, record.throughput
        self._event(
            "finished",
            **self._record_fields(record),
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

    def summary(
        self, counts: Mapping[str, int], table: Path, command: str, answers: Sequence["Answer"] = ()
    ) -> None:
        self._event(
            "summary",
            counts={status: number for status, number in counts.items() if number},
            left=len(self._waiting),
            passed_s=time.monotonic() - self._started,
            training_s=self._training_s,
            answers=[msgspec.to_builtins(answer) for answer in answers],
            table=str(table),
            next=list(self._next(counts, table, command).values()),
            command=command,
        )

    def close(self) -> None:
        """Nothing is left open."""

    def _event(self, event: str, **fields: Any) -> None:
        text = msgspec.json.encode({"event": event} | fields, enc_hook=str).decode()
        self._file.write(f"{text}\n")
        self._file.flush()

    def _run_fields(self, run: Run) -> dict[str, Any]:
        return {"run_id": run.id, "name": self._name(run)}

    def _record_fields(self, record: Record) -> dict[str, Any]:
        return {"run_id": record.run_id, "name": self._name(record), "status": record.status}


class TextReporter(_GridState):
    """Shows a grid's progress to people on standard output; `quiet` limits it to problems."""

    def __init__(
        self, *, file: TextIO | None = None, terminal: bool | None = None, quiet: bool = False
    ) -> None:
        super().__init__()
        self._console = Console(
            file=file or cast(TextIO, Output(sys.stdout)), force_terminal=terminal, highlight=False
        )
        self._quiet = quiet
        self._live: Live | None = None

    def progress(self, text: str) -> None:
        if not self._quiet:
            self._line(text)

    def notice(self, text: str) -> None:
        self._line(f"NOTICE: {text}", "bold yellow")

    def plan(self, plan: "Plan", *, every: bool = False) -> None:
        for text in plan.notices:
            self.notice(text)
        self._take_plan(plan)
        if self._quiet and not every:
            return
        parts = [
            (len(plan.todo), "to run"), (len(plan.done), "done"),
            (len(plan.failed), "failed before"), (len(plan.skipped), "cannot run here"),
        ]  # fmt: skip
        counts = ", ".join(f"{number} {word}" for number, word in parts if number)
        self._line(f"{counts or 'nothing to run'}{self._left_text()} | results in {plan.folder}")
        for run in plan.todo if every else ():
            self._line(f"  to run   {self._name(run)}")
        for record in plan.failed:
            name = self._name(record)
            self._line(f"  failed   {name}: {record.status} (repeat with --retry-failed)")
        for run, reason in plan.skipped:
            self._line(f"  skipped  {self._name(run)}: {reason}")

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
            self._live._live_render = _Rows("")
            self._live.start(refresh=True)
        else:
            self._line(f"[{position}/{total}] {self._name(run)} started{self._left_text()}")

    def epoch(self, run: Run, point: Point, memory: Memory | None = None) -> None:
        """An epoch ended; only the live view shows it."""
        self._take_epoch(run, point, memory)
        if self._live is not None:
            self._live.refresh()

    def run_finished(self, record: Record) -> None:
        self._take_record(record)
        if self._quiet and record.status not in (*FAILED, "interrupted"):
            return
        self._line(
            _outcome(record, self._name(record)), STYLES.get(record.status, "red"), indent=INDENT
        )
        if record.error is not None and record.error.log:
            self._line(f"{INDENT}log: {record.error.log}")

    def summary(
        self, counts: Mapping[str, int], table: Path, command: str, answers: Sequence["Answer"] = ()
    ) -> None:
        self.close()
        ended = {**counts, "left": len(self._waiting)}
        statuses = ", ".join(f"{number} {status}" for status, number in ended.items() if number)
        passed, training = map(duration, (time.monotonic() - self._started, self._training_s))
        spent = f"{passed}, of which {training} on the training clocks"
        self._line(f"{count(sum(counts.values()), 'run')}: {statuses or 'none'} | {spent}")
        if answers:
            from bench.report.answers import answer_lines  # imports pandas

            width = self._console.width if self._console.is_terminal else PLAIN_WIDTH
            self._line("\n".join(["", *answer_lines(answers, width=width), ""]))
        self._line(f"table: {table}", whole=True)
        for purpose, following in self._next(counts, table, command).items():
            self._line(f"{purpose}: {following}", whole=True)

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
        name = self._name(shown.run) + (f" and {others} more" if others else "")
        return Group(header, Text(name, "bold"), Text(" | ".join(_live_values(shown))))

    def _left_text(self) -> str:
        left_s = self._left_s()
        return "" if left_s is None else f", about {duration(left_s)} left"

    def _line(self, text: str, style: str = "", *, indent: str = "", whole: bool = False) -> None:
        """Prints lines: on a terminal wrapped at words, unless they are to be copied `whole`."""
        text = printable(text)
        if self._console.is_terminal and not whole:
            width = self._console.width
            text = "\n".join(wrapped(line, width, indent) for line in text.split("\n"))
        self._console.print(Text(text, style), soft_wrap=True)


class _Rows(LiveRender):
    """Rows of the live view; a terminal that became narrower has broken its lines into more."""

    _widths: Sequence[int] = ()

    def position_cursor(self) -> Control:
        """Erases all rows."""
        if self._shape is not None:
            rows = (max(1, math.ceil(width / self._console.width)) for width in self._widths)
            self._shape = self._shape[0], sum(rows)
        return super().position_cursor()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._console = console
        drawn = super().__rich_console__(console, options)
        segments = [segment for segment in drawn if isinstance(segment, Segment)]
        self._widths = [*map(Segment.get_line_length, Segment.split_lines(segments))]
        yield from segments


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


def _outcome(record: Record, name: str) -> str:
    if record.status != "ok":
        return f"{record.status:<10} {name}: {first_line(record)}"
    parts = [f"{'ok':<10} {name}"]
    if record.metrics is not None:
        parts.append(f"accuracy {record.metrics.accuracy:.1%}")
        if record.seeks_target:
            reached_s = record.metrics.time_to_accuracy_s
            when = "not reached" if reached_s is None else f"in {reached_s:.1f} s"
            parts.append(f"{record.cell.target_accuracy:.0%} {when}")
    if record.throughput is not None:
        parts.append(f"{record.throughput.median:.0f} images/s")
    suspect = f" (timing suspect: {'; '.join(record.timing_suspect)})"
    parts.append(duration(record.timings.total_s) + suspect * bool(record.timing_suspect))
    return ", ".join(parts)
