"""The live view: whole at any width, and gone without a trace when it is taken away."""

import re
from dataclasses import replace
from io import StringIO
from threading import RLock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole
from rich.text import Text

from bench.console import Console
from bench.console_live import LiveArea, State, lines
from bench.record import Memory
from tests.made import made_curve, made_record, made_run
from tests.test_console import Plan

POINT = made_curve(4, 1000, 0.8)[1]


def state(**changes: Any) -> State:
    fields: dict[str, Any] = {"run": made_run(), "position": 2, "total": 5, "passed_s": 7.0}
    return State(**fields | changes)


def plain(of: State, width: int) -> str:
    return "\n".join(line.plain for line in lines(of, width))


class Screen:
    """A terminal that understands what the live view writes, and wraps anew when it is resized."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = [""]
        self.row = 0
        self.hard = [True]  # whether a row ends a line, as told apart from one that was wrapped

    def feed(self, text: str) -> None:
        for code, char in re.findall(r"\x1b\[([?\d;]*[A-Za-z])|([^\x1b])", text, re.DOTALL):
            if code == "2K":
                self.rows[self.row] = ""
                self.column = 0
            elif code.endswith("A"):
                self.row -= int(code[:-1] or 1)
                assert self.row >= 0, "above the top"
            elif char == "\r":
                self.column = 0
            elif char == "\n":
                self._down(hard=True)
            elif char:
                self._put(char)

    column = 0

    def _put(self, char: str) -> None:
        if self.column == self.width:
            self._down(hard=False)
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
        self.column += 1

    def _down(self, *, hard: bool) -> None:
        self.hard[self.row] = hard
        self.row += 1
        self.column = 0
        if self.row == len(self.rows):
            self.rows.append("")
            self.hard.append(True)

    def resize(self, width: int) -> None:
        """Joins wrapped rows and wraps them for the new width; the cursor stays at the end."""
        whole, self.width = self.text(), width
        self.rows, self.hard, self.row, self.column = [""], [True], 0, 0
        self.feed(whole)

    def text(self) -> str:
        found = "".join(
            row + ("\n" if hard else "") for row, hard in zip(self.rows, self.hard, strict=True)
        )
        return found.removesuffix("\n")


@given(
    st.integers(10, 200),
    st.sampled_from(["cnn2", "timm:a_rather_long_name_of_a_net", "resnet18"]),
    st.booleans(),
)
def test_lines_fit_and_lose_nothing(width: int, net: str, has_point: bool) -> None:
    shown = state(
        run=made_run(architecture=net, pipeline="torchvision[workers=2]"),
        point=POINT if has_point else None,
        memory=Memory(host_gib=1.25),
        left_s=3725.0,
    )
    found = lines(shown, width)
    assert max(line.cell_len for line in found) < width
    text = "".join(line.plain for line in found)
    assert shown.run.name in text
    if width > 40:
        for part in ("1/5", "about 1 h 02 min left", "7 s", "1.2 GiB"):
            assert part in text


def test_an_epoch_is_told_with_its_figures() -> None:
    text = plain(state(point=POINT, memory=Memory(host_gib=9.0, torch_gib=2.5)), 120)
    assert text.splitlines()[-1] == (
        "epoch 2/4 | loss 1.150 | accuracy 40.0% | 1,000 images/s | 2.5 GiB | 7 s"
    )


def test_what_is_not_known_is_not_shown() -> None:
    point = replace(POINT, train_loss=None, validation_accuracy=None)
    text = plain(state(point=point), 120)
    assert text.splitlines()[-1] == "epoch 2/4 | 1,000 images/s | 7 s"
    assert "left" not in text
    assert "building, warming up" in plain(state(), 120)


@pytest.mark.parametrize(("position", "done"), [(1, 0), (3, 12), (6, 30)])
def test_the_bar_is_as_long_as_what_is_done(position: int, done: int) -> None:
    (bar, *_) = lines(state(position=position, total=5), 120)
    spans = [span for span in bar.spans if span.style == "green"]
    assert sum(span.end - span.start for span in spans) == done


@pytest.mark.parametrize("widths", [[80], [80, 40], [80, 30, 100], [60, 59, 25, 26, 80]])
def test_resizing_leaves_nothing_behind(widths: list[int]) -> None:
    out = StringIO()
    console = RichConsole(file=out, force_terminal=True, width=widths[0], color_system=None)
    shown = state(run=made_run(architecture="a_rather_long_name"), point=POINT, left_s=60.0)
    area = LiveArea(console, lambda width: lines(shown, width), RLock())
    console.push_render_hook(area)  # without its thread: every step is seen
    screen = Screen(widths[0])

    def step() -> None:
        screen.feed(out.getvalue())
        out.seek(0)
        out.truncate()

    for index, width in enumerate(widths):
        step()
        screen.resize(width)
        console.width = width
        area.refresh()
        console.print(Text(f"outcome {index} " + "x" * 50), soft_wrap=True)
        area.refresh()
    step()
    said = screen.text().rstrip("\n").split("\n")  # rows below may be empty
    assert said[: len(widths)] == [f"outcome {index} " + "x" * 50 for index in range(len(widths))]
    assert "\n".join(said[len(widths) :]) == plain(shown, widths[-1])
    area._draw = lambda width: []
    area.refresh()
    step()
    assert screen.text().rstrip("\n").split("\n") == said[: len(widths)]


def test_the_cursor_comes_back_and_what_was_printed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    out = StringIO()
    console = Console(file=out, terminal=True)
    plan = Plan(todo=[made_run(0)])
    console.plan(plan)
    console.run_started(plan.todo[0], 1, 1)
    console.memory(Memory(host_gib=1.5))
    for point in made_record(0).curve:
        console.epoch(plan.todo[0], point, 4)
    assert "epoch 4/4" in out.getvalue()
    assert "1.5 GiB" in out.getvalue()
    console.run_finished(made_record(0))
    console.close()
    console.close()
    text = out.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    screen = Screen(60)
    screen.feed(re.sub(r"\x1b\[[\d;]*m", "", text))
    assert "accuracy 70.0%" in screen.text()
    assert "epoch" not in screen.text()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = StringIO()
    console = Console(file=out, terminal=True)
    console.run_started(made_run(), 1, 1)
    console.close()
    assert "[1/1] resnet18/sgd/flip_crop/kornia/seed0 started" in out.getvalue()
    assert "\x1b[?25l" not in out.getvalue()
