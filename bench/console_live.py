"""The live view: a few lines at the bottom of a terminal, kept up to date while others scroll by.

rich's own `Live` takes for granted that what it drew still stands as it was drawn. Terminals wrap
lines anew when a window becomes narrower; here the rows that they now take are counted, so that
none of them is left behind.
"""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, redirect_stderr
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.file_proxy import FileProxy
from rich.segment import ControlType
from rich.text import Text

from bench.cell import Run
from bench.console_base import duration, peak_gib
from bench.record import Memory, Point

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


__all__ = ["LiveArea", "State", "lines"]
