"""What a person sees while a grid runs: a live view on a terminal, plain lines elsewhere.

The live view: a few lines at the bottom of a terminal, kept up to date while others scroll by.

rich's own `Live` takes for granted that what it drew still stands as it was drawn. Terminals wrap
lines anew when a window becomes narrower; here the rows that they now take are counted, so that
none of them is left behind.

A grid's progress for programs: one JSON object a line; docs/reading.md lists the fields.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any, TextIO, cast

import msgspec
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.console import Console as RichConsole
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.panel import Panel
from rich.segment import ControlType
from rich.text import Text

from bench.cell import Run
from bench.cli.exit import Outlet
from bench.errors import UsageError
from bench.executors.progress import (
    Planned,
    Reporter,
    TimeLeft,
    duration,
    first_line,
    overhead,
    peak_gib,
)
from bench.record import Memory, Point, Record
from bench.text import count, printable
from pipelines.catalog import unknown_name

REFRESH_S = 0.5
BAR = 30  # characters at most
LEAST_BAR = 5


@dataclass(frozen=True, kw_only=True)
class State:
    """What is going on.

    Args:
        run: In training.
        position: Its number, from 1 on.
        total: Runs of the grid.
        passed_s: Since it began.
        left_s: Until all are done; None while nothing is known.
        point: Its last epoch, if one has ended.
        memory: Its peak so far, if known.
        others: Runs that are trained at the same time.
    """

    run: Run
    position: int
    total: int
    passed_s: float
    left_s: float | None = None
    point: Point | None = None
    memory: Memory | None = None
    others: int = 0


@dataclass(kw_only=True)
class Running:
    """A run that has begun.

    Args:
        run: Which.
        position: Its number, from 1 on.
        total: Runs of the grid.
        began: On the monotonic clock.
        point: Its last epoch.
        memory: Its peak so far.
    """

    run: Run
    position: int
    total: int
    began: float = field(default_factory=time.monotonic)
    point: Point | None = None
    memory: Memory | None = None

    @property
    def passed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


def lines(state: State, width: int) -> list[Text]:
    """The state in lines of less than `width` characters, however narrow: they are wrapped."""
    room = max(1, width - 1)  # a full line would make some terminals scroll
    beside = f" and {state.others} more" if state.others else ""
    return [
        _bar(state, room),
        *_folded(f"{state.run.name}{beside}", room),
        *_flowed(_figures(state), room),
    ]


def _bar(state: State, room: int) -> Text:
    ended = max(0, state.position - 1 - state.others)
    said = f"{ended}/{state.total}"
    if state.left_s is not None:
        said += f", about {duration(state.left_s)} left"
    bar = min(BAR, room - len(said) - 1)
    if bar < LEAST_BAR:
        return Text(said[:room])
    done = bar * ended // state.total
    return Text.assemble(
        ("\u2501" * done, "green"), ("\u2501" * (bar - done), "dim"), f" {said}"
    )  # fmt: skip


def _figures(state: State) -> list[str]:
    epochs, point = state.run.cell.epochs, state.point
    found = [f"epoch {point.epoch if point else 0}/{epochs}"]
    if point is None:
        found.append("getting ready" if state.passed_s < 1 else "building, warming up")
    else:
        if point.train_loss is not None:
            found.append(f"loss {point.train_loss:.3f}")
        if point.validation_accuracy is not None:
            found.append(f"accuracy {point.validation_accuracy:.1%}")
        found.append(f"{point.images_per_s:,.0f} images/s")
    gib = peak_gib(state.memory) if state.memory else None
    if gib is not None:
        found.append(f"{gib:.1f} GiB")
    return [*found, duration(state.passed_s)]


def _folded(text: str, room: int) -> list[Text]:
    return [Text(text[start : start + room], "bold") for start in range(0, len(text), room)]


def _flowed(parts: list[str], room: int) -> list[Text]:
    """Parts joined by bars, as many to a line as fit."""
    rows: list[str] = []
    for part in parts:
        if rows and len(rows[-1]) + 3 + len(part) <= room:
            rows[-1] += f" | {part}"
        else:
            rows.append(part[:room])
    return [Text(row) for row in rows]


class LiveArea(RenderHook):
    """Lines that stay under everything that is printed.

    Args:
        console: Of a terminal; all printing goes through it.
        draw: Gives the lines for a width; called from another thread.
        lock: Held by whoever prints, so that what is erased is what stands there.
    """

    def __init__(
        self, console: Console, draw: Callable[[int], list[Text]], lock: AbstractContextManager[Any]
    ) -> None:
        self._console = console
        self._draw = draw
        self._lock = lock
        self._lengths: list[int] = []  # of the lines on the screen, in cells
        self._stopped = Event()
        self._thread = Thread(target=self._keep_fresh, daemon=True)
        self._undo = ExitStack()

    def start(self) -> None:
        """Shows the lines and keeps them up to date."""
        self._console.show_cursor(False)
        self._undo.callback(self._console.show_cursor, True)
        self._console.push_render_hook(self)
        self._undo.callback(self._console.pop_render_hook)
        if sys.stderr.isatty():  # what others print there must not tear the lines apart
            proxy = cast(TextIO, FileProxy(self._console, sys.stderr))
            self._undo.enter_context(redirect_stderr(proxy))
        self._thread.start()

    def stop(self) -> None:
        """Takes the lines away."""
        self._stopped.set()
        self._thread.join()
        self._draw = lambda width: []
        self.refresh()
        self._undo.close()

    def refresh(self) -> None:
        """Draws the lines again."""
        with self._lock:
            self._console.print(Control())

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Puts what is printed above the lines."""
        shown = self._draw(self._console.width)
        erase = self._erase(self._console.width)
        self._lengths = [line.cell_len for line in shown]
        return [erase, *renderables, _Block(lines=shown)]

    def _erase(self, width: int) -> Control:
        """From the end of the lines to the beginning of the first, as wrapped as they are now."""
        rows = sum(max(1, -(-length // width)) for length in self._lengths)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * max(0, rows - 1)
        return Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up)

    def _keep_fresh(self) -> None:
        while not self._stopped.wait(REFRESH_S):
            self.refresh()


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Lines without a line break after the last."""

    lines: list[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from Text("\n").join(self.lines).render(console, end="")


class JsonReporter:
    """Writes an object for each event; numbers that JSON lacks become null.

    Args:
        file: Where to; standard output if left out.
    """

    def __init__(self, *, file: TextIO | None = None) -> None:
        self._file = file or cast(TextIO, Outlet(sys.stdout))
        self._left = TimeLeft()
        self._waiting: list[Run] = []
        self._ours: set[str] = set()
        self._training_s = 0.0
        self._began = time.monotonic()
        self._memory: Memory | None = None

    def progress(self, text: str) -> None:
        """Work before the first run."""
        self._event("progress", text=text)

    def notice(self, text: str) -> None:
        """Something that must not be missed."""
        self._event("notice", text=text)

    def plan(self, plan: Planned, *, every: bool = False) -> None:
        """All runs, by what is to be done with them; `every` changes nothing."""
        for text in plan.notices:
            self.notice(text)
        for record in plan.done:
            self._left.learn(record)
        self._waiting = list(plan.todo)
        self._event(
            "plan",
            folder=str(plan.folder),
            todo=[_of_run(run) for run in plan.todo],
            done=[_of_record(record) for record in plan.done],
            failed=[_of_record(record) for record in plan.failed],
            skipped=[_of_run(run) | {"reason": reason} for run, reason in plan.skipped],
            left_s=self._left.of_all(self._waiting, 0.0),
        )

    def run_started(self, run: Run, position: int, total: int) -> None:
        """A run begins."""
        self._ours.add(run.id)
        self._memory = None
        self._event(
            "started",
            **_of_run(run),
            position=position,
            total=total,
            left_s=self._left.of_all(self._waiting, 0.0),
        )

    def memory(self, peak: Memory) -> None:
        """Kept for the next epoch."""
        self._memory = peak

    def epoch(self, run: Run, point: Point, epochs: int) -> None:
        """An epoch ended: a point of the curve."""
        gib = peak_gib(self._memory) if self._memory else None
        figures = msgspec.to_builtins(point)
        self._event("epoch", **_of_run(run), epochs=epochs, **figures, memory_gib=gib)

    def run_finished(self, record: Record) -> None:
        """A run ended, or could not begin."""
        if record.run_id in self._ours:  # what another trained meanwhile is not ours
            self._training_s += record.timings.train_s
        self._left.learn(record)
        self._waiting = [run for run in self._waiting if run.id != record.run_id]
        metrics, speed = record.metrics, record.throughput
        self._event(
            "finished",
            **_of_record(record),
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
        """How the grid ended."""
        self._event(
            "summary",
            counts={status: number for status, number in counts.items() if number},
            left=len(self._waiting),
            passed_s=time.monotonic() - self._began,
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


def _of_run(run: Run) -> dict[str, Any]:
    return {"run_id": run.id, "name": run.name}


def _of_record(record: Record) -> dict[str, Any]:
    return {"run_id": record.run_id, "name": record.name, "status": record.status}


STYLES = {"ok": "green", "skipped": "dim", "interrupted": "yellow"}
PLAIN_WIDTH = 100
PROBLEMS = ("diverged", "oom", "timeout", "crashed", "interrupted")


class TextReporter:
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
        return TextReporter(quiet=quiet)
    if quiet:
        raise UsageError("--progress json tells every event: leave out --quiet")
    return JsonReporter()


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
