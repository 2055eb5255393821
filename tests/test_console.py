"""What a person sees: plain lines without a terminal, a bar with one, and nothing missed."""

from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest

from bench.cell import Run
from bench.console import Console, TimeLeft, reporter, terminal
from bench.console_base import duration, overhead
from bench.console_json import JsonConsole
from bench.errors import UsageError
from bench.record import Record
from tests.made import made_failure, made_record, made_run


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
    console = Console(file=out, terminal=is_terminal, quiet=quiet)
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
    Console(file=out, terminal=False, quiet=True).plan(Plan(todo=[made_run(0)]), every=True)
    assert "to run   resnet18" in out.getvalue()


def test_the_way_of_showing_is_chosen_by_name() -> None:
    assert isinstance(reporter("auto", quiet=True), Console)
    assert isinstance(reporter("json", quiet=False), JsonConsole)
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
    Console(file=out, terminal=False).plan(plan, every=True)
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
    console = Console(file=out, terminal=False)
    console.plan(Plan(todo=[made_run(0), made_run(1)]))
    console.run_finished(made_record(0))
    console.run_started(made_run(1), 1, 2)
    console.run_finished(made_record(1))
    console.summary({"ok": 2}, Path("matrix.md"), "bench run")
    assert "of which 4 s on the training clocks" in out.getvalue()
