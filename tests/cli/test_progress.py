"""What a person sees: plain lines without a terminal, a bar with one, and nothing missed.

Progress for programs: one object a line, whatever happens, and nothing else.

The live view: whole at any width, and gone without a trace when it is taken away.
"""

import json
import re
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from threading import RLock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole
from rich.text import Text

from bench.cell import Run
from bench.cli.progress import JsonReporter, LiveArea, State, TextReporter, lines, reporter
from bench.errors import UsageError
from bench.executors.progress import TimeLeft, duration, overhead, terminal
from bench.record import Memory, Record
from tests.checkout import ROOT
from tests.made import made_curve, made_failure, made_record, made_run


@dataclass(kw_only=True)
class Plan:
    folder: Path = Path("results/group")
    todo: list[Run] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    skipped: list[tuple[Run, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def shown(plan: Plan, records: list[Record], *, is_terminal: bool, quiet: bool = False) -> str:
    out = StringIO()
    console = TextReporter(file=out, terminal=is_terminal, quiet=quiet)
    console.plan(plan)
    for position, (run, record) in enumerate(zip(plan.todo, records, strict=False)):
        console.run_started(run, position + 1, len(plan.todo))
        for point in record.curve:
            console.epoch(run, point, run.cell.epochs)
        console.run_finished(record)
    counts = {"ok": sum(record.status == "ok" for record in records)}
    counts["crashed"] = len(records) - counts["ok"]
    console.summary(counts, plan.folder / "matrix.md", "bench run --grid default")
    return out.getvalue()


def test_plain_output_has_a_line_for_each_event_and_no_escapes() -> None:
    plan = Plan(todo=[made_run(0), made_run(1)])
    text = shown(plan, [made_record(0), made_failure(1)], is_terminal=False)
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert lines[0] == "2 to run | results in results/group"
    assert lines[1] == "[1/2] resnet18/sgd/flip_crop/kornia/seed0 started"
    assert lines[2].startswith("ok         resnet18/sgd/flip_crop/kornia/seed0, accuracy 70.0%")
    assert "60% in 3.0 s" in lines[2]
    assert lines[3].endswith("started, about 6 s left")
    assert lines[4] == "crashed    resnet18/sgd/flip_crop/kornia/seed1: it broke"
    assert lines[5].strip() == "log: logs/x.log"
    assert "1 ok, 1 crashed" in lines[6]
    assert lines[7] == "1 failed: tried again only with --retry-failed"
    assert lines[8] == "table: results/group/matrix.md"
    assert lines[9] == "to go on: bench run --grid default"


def test_a_terminal_gets_a_bar_and_the_same_outcomes() -> None:
    text = shown(Plan(todo=[made_run(0)]), [made_record(0)], is_terminal=True)
    assert "\x1b[" in text
    assert "0/1" in text
    assert "accuracy 70.0%" in text
    assert text.endswith("to run what is added later: bench run --grid default\n")


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(Plan(notices=["look"]), [], is_terminal=True)
    assert "look" in text
    assert "\x1b[33" not in text
    assert ";33m" not in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_notice_is_framed_at_the_start_and_at_the_end(is_terminal: bool) -> None:
    plan = Plan(todo=[made_run(0)], notices=["Training on shapes instead."])
    text = shown(plan, [made_record(0)], is_terminal=is_terminal)
    assert text.count("Training on shapes instead.") == 2
    assert text.count("NOTICE") == 2
    assert text.rindex("Training on shapes") > text.rindex("accuracy 70.0%")


def test_long_notices_are_whole_on_a_terminal() -> None:
    words = [f"word{number}" for number in range(100)]
    text = shown(Plan(notices=[" ".join(words)]), [], is_terminal=True)
    assert all(word in text for word in words)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_leaves_problems_and_the_summary(is_terminal: bool) -> None:
    plan = Plan(todo=[made_run(0), made_run(1)], notices=["Training on shapes instead."])
    text = shown(plan, [made_record(0), made_failure(1)], is_terminal=is_terminal, quiet=True)
    assert "seed0" not in text
    assert "to run |" not in text
    assert "crashed    resnet18/sgd/flip_crop/kornia/seed1: it broke" in text
    assert "log: logs/x.log" in text
    assert text.count("Training on shapes instead.") == 1
    assert "2 runs: 1 ok, 1 crashed" in text
    assert text.endswith("to go on: bench run --grid default\n")


def test_quiet_names_the_runs_of_a_dry_run_all_the_same() -> None:
    out = StringIO()
    TextReporter(file=out, terminal=False, quiet=True).plan(Plan(todo=[made_run(0)]), every=True)
    assert "to run   resnet18" in out.getvalue()


def test_the_way_of_showing_is_chosen_by_name() -> None:
    assert isinstance(reporter("auto", quiet=True), TextReporter)
    assert isinstance(reporter("json", quiet=False), JsonReporter)
    with pytest.raises(UsageError, match="leave out --quiet"):
        reporter("json", quiet=True)
    with pytest.raises(UsageError, match="unknown value of --progress 'jsn': did you mean json"):
        reporter("jsn", quiet=False)


def test_names_with_brackets_are_no_markup() -> None:
    run = made_run(pipeline="kornia[bold]")
    for is_terminal in (True, False):
        text = shown(Plan(todo=[run]), [made_record(pipeline="kornia[bold]")],
                     is_terminal=is_terminal)  # fmt: skip
        assert "kornia[bold]" in text


def test_a_dry_run_names_every_run() -> None:
    out = StringIO()
    plan = Plan(
        todo=[made_run(seed) for seed in range(100)],
        done=[made_record(200)],
        failed=[made_failure(300)],
        skipped=[(made_run(400), "dali is not installed")],
    )
    TextReporter(file=out, terminal=False).plan(plan, every=True)
    text = out.getvalue()
    assert text.startswith(
        "100 to run, 1 done, 1 failed before, 1 cannot run here, about 10 min 00 s left"
    )
    assert all(f"to run   {run.name}\n" in text for run in plan.todo)
    assert "seed300: crashed (--retry-failed tries again)" in text
    assert "seed400: dali is not installed" in text


def test_runs_that_are_left_are_counted() -> None:
    plan = Plan(todo=[made_run(seed) for seed in range(3)])
    assert "2 runs are left" in shown(plan, [made_record(0)], is_terminal=False)


def test_nothing_to_do_is_said() -> None:
    text = shown(Plan(done=[made_record()]), [], is_terminal=False)
    assert text.startswith("1 done | results in")


def test_time_left_comes_from_the_runs_most_like_it() -> None:
    left = TimeLeft()
    run = made_run(epochs=8)
    assert left.of(run) is None
    left.learn(made_failure(architecture="vgg11"))
    assert left.of(run) is None
    left.learn(made_record(architecture="vgg11", epochs=10))  # 12 s
    assert left.of(run) == pytest.approx(8 * 1.2)
    left.learn(made_record(pipeline="dali", epochs=4))  # 6 s
    assert left.of(run) == pytest.approx(8 * 1.5)
    left.learn(made_record(epochs=2))  # 4 s
    assert left.of(run) == pytest.approx(8 * 2.0)
    assert left.of(made_run(architecture="vgg11")) == pytest.approx(4 * 1.2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3661, "1 h 01 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_pipe_has_neither_width_nor_colours() -> None:
    screen = terminal()
    assert (screen.width, screen.color) == (None, False)


def test_the_summary_says_what_the_grid_took_beside_the_training() -> None:
    assert overhead(100.0, 50.0) == "1 min 40 s, of which 50 s on the training clocks (2.00 x)"
    assert overhead(7.0, 0.0) == "7 s"
    plan = Plan(todo=[made_run(0), made_run(1)], done=[made_record(7)])
    text = shown(plan, [made_record(0), made_record(1)], is_terminal=False)
    assert "of which 8 s on the training clocks" in text  # 4 s each; what was done before is none


def test_what_another_trained_meanwhile_is_no_training_of_this_grid() -> None:
    out = StringIO()
    console = TextReporter(file=out, terminal=False)
    console.plan(Plan(todo=[made_run(0), made_run(1)]))
    console.run_finished(made_record(0))
    console.run_started(made_run(1), 1, 2)
    console.run_finished(made_record(1))
    console.summary({"ok": 2}, Path("matrix.md"), "bench run")
    assert "of which 4 s on the training clocks" in out.getvalue()


DOCS = ROOT / "docs" / "reading.md"


def events() -> list[dict[str, Any]]:
    """What a grid of two runs tells: one ends well, one does not."""
    out = StringIO()
    console = JsonReporter(file=out)
    runs = [made_run(0), made_run(1)]
    console.progress("reading")
    console.plan(
        Plan(
            todo=runs,
            done=[made_record(7)],
            failed=[made_failure(8)],
            skipped=[(made_run(9), "no op")],
            notices=["no GPU"],
        )
    )
    for position, (run, record) in enumerate(
        zip(runs, [made_record(0), made_failure(1)], strict=True)
    ):
        console.run_started(run, position + 1, 2)
        if record.status == "ok":
            console.memory(Memory(host_gib=1.5))
        for point in record.curve:
            console.epoch(run, point, 4)
        console.run_finished(record)
    console.summary({"ok": 1, "crashed": 1, "oom": 0}, Path("matrix.md"), "bench run")
    console.close()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_events_come_in_order() -> None:
    assert [event["event"] for event in events()] == [
        "progress", "notice", "plan", "started", *["epoch"] * 4, "finished", "started",
        "finished", "summary",
    ]  # fmt: skip


def test_the_plan_names_every_run() -> None:
    plan = next(event for event in events() if event["event"] == "plan")
    assert plan["folder"] == "results/group"
    assert [run["run_id"] for run in plan["todo"]] == [made_run(0).id, made_run(1).id]
    assert plan["done"][0]["name"] == made_record(7).name
    assert plan["failed"][0]["status"] == "crashed"
    assert plan["skipped"][0]["reason"] == "no op"
    assert plan["left_s"] == 12.0  # two runs like the one that is done


def test_an_epoch_is_a_point_of_the_curve_with_the_memory() -> None:
    last = [event for event in events() if event["event"] == "epoch"][-1]
    assert last["run_id"] == made_run(0).id
    assert (last["epoch"], last["epochs"]) == (4, 4)
    assert last["validation_accuracy"] == 0.7
    assert last["images_per_s"] == 1000.0
    assert last["memory_gib"] == 1.5


def test_how_a_run_ended_is_told_with_its_reason() -> None:
    good, bad = (event for event in events() if event["event"] == "finished")
    assert (good["status"], good["accuracy"], good["time_to_accuracy_s"]) == ("ok", 0.7, 3.0)
    assert (bad["status"], bad["reason"], bad["log"]) == ("crashed", "it broke", "logs/x.log")
    assert bad["accuracy"] is None


def test_the_summary_counts_and_names_the_command() -> None:
    last = events()[-1]
    assert last["counts"] == {"ok": 1, "crashed": 1}
    assert (last["left"], last["command"]) == (0, "bench run")
    assert last["training_s"] == 8.0  # of the one that ended well and of the one that did not


def test_numbers_that_json_lacks_are_null() -> None:
    out = StringIO()
    record = made_record(record={"parameters": 1}, accuracy=float("nan"))
    JsonReporter(file=out).run_finished(record)
    assert json.loads(out.getvalue())["accuracy"] is None


def test_every_event_and_field_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for event in events():
        for name in event:
            assert f"`{name}`" in text, name
        assert f"`{event['event']}`" in text


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
    console = TextReporter(file=out, terminal=True)
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
    console = TextReporter(file=out, terminal=True)
    console.run_started(made_run(), 1, 1)
    console.close()
    assert "[1/1] resnet18/sgd/flip_crop/kornia/seed0 started" in out.getvalue()
    assert "\x1b[?25l" not in out.getvalue()
