"""Progress for people: plain lines, or a live view on a terminal; for programs: JSON lines."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.cell import Run
from bench.cli.progress import JsonReporter, TextReporter, reporter
from bench.errors import UsageError
from bench.grid.plan import Plan
from bench.record import Memory, Record, Timings
from bench.report.answers import Answer, answer_lines
from tests import checkout
from tests.made import made_curve, made_failure, made_record, made_run


def made_plan(todo: Sequence[Run] = (), **fields: Any) -> Plan:
    return Plan(
        device="cpu", folder=Path("results/group"), data_dir=Path(), runs=[*todo], todo=[*todo],
        **fields,
    )  # fmt: skip


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
            console.epoch(run, point)
        console.run_finished(record)
    counts = {"ok": sum(record.status == "ok" for record in records)}
    counts["crashed"] = len(records) - counts["ok"]
    console.summary(counts, plan.folder / "matrix.md", "bench run --grid default")
    return out.getvalue()


def test_plain_output_has_one_line_per_event_and_no_escape_codes() -> None:
    plan = made_plan([made_run(0), made_run(1)])
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
    assert lines[7:] == [
        "table: results/group/matrix.md",
        "page: bench report results",
        "curves: bench tensorboard results",
        "1 failed: bench run --grid default --retry-failed",
    ]


def test_a_notice_is_shown_once_and_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made_plan([made_run(0)], notices=["Training on shapes instead."])
    text = shown(plan, [made_record(0)], is_terminal=False)
    assert text.startswith("NOTICE: Training on shapes instead.\n1 to run")
    assert text.count("Training on shapes") == 1
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(made_plan(notices=["look"]), [], is_terminal=True)
    assert "look" in text
    assert "33m" not in text


def test_a_terminal_breaks_neither_words_nor_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    suspect = made_record(record={"timing_suspect": ("other processes used 25 % of the CPU",)})
    text = shown(made_plan([made_run(0)]), [suspect], is_terminal=True)
    assert "\n1 with suspect times: bench run --grid default --retry-suspect\n" in text
    assert """ok         resnet18/sgd/flip_crop/kornia/seed0,
           accuracy 70.0%, 60% in 3.0 s, 1000
           images/s, 6 s (timing suspect: other
           processes used 25 % of the CPU)""" in re.sub(r"\x1b\[\d*m", "", text)


def test_the_summary_has_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(question="Best optimizer", entry="muon", value="71 %", sure=True, why="6 nets")
    out = StringIO()
    for console in (TextReporter(file=out, terminal=False, quiet=True), JsonReporter(file=out)):
        console.summary({"ok": 1}, Path("results/g/matrix.md"), "bench run", [answer])
    *text, table, _, _, event = out.getvalue().splitlines()
    assert text[1:] == ["", *answer_lines([answer]), ""]
    assert table == "table: results/g/matrix.md"
    event = json.loads(event)
    assert event["answers"] == [asdict(answer)]
    assert event["next"] == ["bench report results", "bench tensorboard results"]


def test_quiet_shows_only_problems_and_the_summary() -> None:
    plan = made_plan([made_run(0), made_run(1)], notices=["Training on shapes instead."])
    text = shown(plan, [made_record(0), made_failure(1)], is_terminal=True, quiet=True)
    assert "seed0" not in text
    assert "to run |" not in text
    assert "crashed    resnet18/sgd/flip_crop/kornia/seed1: it broke" in text
    assert "log: logs/x.log" in text
    assert text.count("Training on shapes instead.") == 1
    assert "2 runs: 1 ok, 1 crashed" in text


def test_the_reporter_is_chosen_by_name() -> None:
    assert isinstance(reporter("auto", quiet=True), TextReporter)
    assert isinstance(reporter("json", quiet=False), JsonReporter)
    with pytest.raises(UsageError, match="leave out --quiet"):
        reporter("json", quiet=True)
    with pytest.raises(UsageError, match="unknown value of --progress 'jsn': did you mean json"):
        reporter("jsn", quiet=False)


def test_runs_of_one_name_are_told_apart() -> None:
    runs = [made_run(epochs=epochs) for epochs in (5, 25)]
    records = [made_record(epochs=5), made_failure(epochs=25)]
    plan = made_plan(runs, skipped=[(runs[0], "there is no GPU")], failed=[records[1]])
    text = shown(plan, records, is_terminal=False)
    name = runs[0].name
    for line in (f"skipped  {name} (5 epochs): ", f"failed   {name} (25 epochs): ",
                 f"[1/2] {name} (5 epochs) started", f"ok         {name} (5 epochs), ",
                 f"crashed    {name} (25 epochs): "):  # fmt: skip
        assert line in text
    TextReporter(file=(out := StringIO()), terminal=False).plan(plan, every=True)
    assert f"to run   {name} (25 epochs)\n" in out.getvalue()
    JsonReporter(file=(out := StringIO())).plan(plan)
    todo = json.loads(out.getvalue())["todo"]
    assert [run["name"] for run in todo] == [f"{name} (5 epochs)", f"{name} (25 epochs)"]


def test_a_dry_run_names_every_run() -> None:
    out = StringIO()
    plan = made_plan(
        [made_run(seed) for seed in range(100)],
        done=[made_record(200)],
        failed=[made_failure(300)],
        skipped=[(made_run(400), "dali is not installed")],
    )
    TextReporter(file=out, terminal=False, quiet=True).plan(plan, every=True)
    text = out.getvalue()
    assert text.startswith(
        "100 to run, 1 done, 1 failed before, 1 cannot run here, about 10 min 00 s left"
    )
    assert all(f"to run   {run.name}\n" in text for run in plan.todo)
    assert "seed300: crashed (repeat with --retry-failed)" in text
    assert "seed400: dali is not installed" in text


def test_the_summary_counts_runs_left_and_the_training_time_of_this_grid() -> None:
    plan = made_plan([made_run(seed) for seed in range(3)])
    text = shown(plan, [made_record(0)], is_terminal=False)
    assert "1 ok, 2 left | " in text
    assert text.endswith("to continue: bench run --grid default\n")
    out = StringIO()
    console = TextReporter(file=out, terminal=False)
    console.plan(made_plan([made_run(0), made_run(1)], done=[made_record(7)]))
    console.run_finished(made_record(0))
    console.run_started(made_run(1), 1, 2)
    console.run_finished(made_record(1))
    console.summary({"ok": 2}, Path("matrix.md"), "bench run")
    assert "of which 4 s on the training clocks" in out.getvalue()


def test_the_live_view_counts_concurrent_runs_also_for_the_time_left() -> None:
    console = TextReporter(file=StringIO(), terminal=False)
    for seed in range(3):
        console.run_started(made_run(seed), seed + 1, 9)
    (point,) = made_curve(1, 100, 0.5)
    console.epoch(made_run(1), point)
    assert "seed1 and 2 more" in drawn(console)
    assert "0/9" in drawn(console)
    console.run_finished(made_record(1))
    assert "1/9" in drawn(console)
    console = TextReporter(file=StringIO(), terminal=False)
    done = made_record(9, record={"timings": Timings(total_s=100.0)})
    runs = [made_run(seed) for seed in range(8)]
    console.plan(made_plan(runs, done=[done]))
    for number, run in enumerate(runs, start=1):
        console.run_started(run, number, 8)
    for running in console._running.values():
        running.started -= 90.0
    assert "about 10 s left" in drawn(console)


def drawn(console: TextReporter, width: int = 120) -> str:
    """The live view."""
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(console._view())
    return out.getvalue()


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """The events of a grid of two runs, of which the second crashes."""
    out = StringIO()
    console = JsonReporter(file=out)
    runs = [made_run(0), made_run(1)]
    console.progress("reading")
    console.plan(
        made_plan(
            runs,
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
        for point in record.curve:
            console.epoch(run, point, Memory(host_gib=1.5))
        console.run_finished(record)
    console.summary({"ok": 1, "crashed": 1, "oom": 0}, Path("matrix.md"), "bench run")
    console.close()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_events_are_complete_and_in_order(events: list[dict[str, Any]]) -> None:
    assert [event["event"] for event in events] == [
        "progress", "notice", "plan", "started", *["epoch"] * 4, "finished", "started",
        "finished", "summary",
    ]  # fmt: skip
    plan, epoch, good, bad, summary = (events[index] for index in (2, 7, 8, 10, 11))
    assert plan["folder"] == "results/group"
    assert [run["run_id"] for run in plan["todo"]] == [made_run(0).id, made_run(1).id]
    assert plan["done"][0]["name"] == made_record(7).name
    assert plan["failed"][0]["status"] == "crashed"
    assert plan["skipped"][0]["reason"] == "no op"
    assert plan["left_s"] == 12.0  # two runs like the one that is done
    assert epoch["run_id"] == made_run(0).id
    assert (epoch["epoch"], epoch["epochs"], epoch["memory_gib"]) == (4, 4, 1.5)
    assert (epoch["validation_accuracy"], epoch["images_per_s"]) == (0.7, 1000.0)
    assert (good["status"], good["accuracy"], good["time_to_accuracy_s"]) == ("ok", 0.7, 3.0)
    assert (bad["status"], bad["reason"], bad["log"]) == ("crashed", "it broke", "logs/x.log")
    assert bad["accuracy"] is None
    assert summary["counts"] == {"ok": 1, "crashed": 1}
    assert (summary["left"], summary["command"]) == (0, "bench run")
    assert summary["training_s"] == 8.0  # of both runs


def test_every_event_and_field_is_documented_and_nan_is_null(events: list[dict[str, Any]]) -> None:
    text = (checkout.ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for event in events:
        for name in (*event, event["event"]):
            assert f"`{name}`" in text, name
    out = StringIO()
    record = made_record(record={"parameters": 1}, accuracy=float("nan"))
    JsonReporter(file=out).run_finished(record)
    assert json.loads(out.getvalue())["accuracy"] is None


POINT = made_curve(4, 1000, 0.8)[1]


def view(width: int = 120, **changes: Any) -> str:
    """The live view during the second of five runs, after its second epoch."""
    reporter = TextReporter(file=StringIO(), terminal=True)
    runs = [made_run(seed, **changes) for seed in range(5)]
    reporter.plan(made_plan(runs, done=[made_record(9)]))
    reporter.run_finished(made_record(0, **changes))
    reporter.run_started(runs[1], 2, 5)
    reporter.epoch(runs[1], POINT, Memory(host_gib=9.0, torch_gib=2.5))
    reporter.close()
    return drawn(reporter, width)


def test_the_live_view_shows_the_bar_the_run_and_what_is_known() -> None:
    bar, name, values = view().splitlines()
    assert bar.rstrip().endswith("1/5, about 24 s left")
    assert bar.count("\u2501") == 6  # a fifth of the bar
    assert name == "resnet18/sgd/flip_crop/kornia/seed1"
    assert values == "epoch 2/4 | loss 1.150 | accuracy 40.0% | 1,000 images/s | 2.5 GiB | 0 s"
    reporter = TextReporter(file=StringIO(), terminal=True)
    reporter.run_started(made_run(), 1, 1)
    assert "epoch 0/4 | building, warming up" in drawn(reporter)
    reporter.epoch(made_run(), replace(POINT, train_loss=None, validation_accuracy=None))
    assert "epoch 2/4 | 1,000 images/s | 0 s" in drawn(reporter)
    assert "left" not in drawn(reporter)
    reporter.close()


@pytest.mark.parametrize("width", [20, 79, 200])
def test_the_live_view_fits_any_width_without_cutting_text(width: int) -> None:
    net = "timm:a_rather_long_name_of_a_net"
    shown = view(width, architecture=net)
    assert max(map(len, shown.splitlines())) <= width
    joined = re.sub(r"\s", "", shown)
    for part in (f"{net}/sgd/flip_crop/kornia/seed1", "1/5", "epoch2/4", "loss1.150", "2.5GiB"):
        assert part in joined


def test_the_live_view_is_erased_at_the_end_and_from_a_narrowed_terminal() -> None:
    out = StringIO()
    console = TextReporter(file=out, terminal=True)
    console.run_started(made_run(), 1, 1)
    console.epoch(made_run(), POINT)
    assert "epoch 2/4" in out.getvalue()
    console.close()
    console.close()
    shows_cursor, erases_line = "\x1b[?25h", "\x1b[1A\x1b[2K"
    assert out.getvalue().endswith(shows_cursor + "\r" + 3 * erases_line)
    console = TextReporter(file=(out := StringIO()), terminal=True)
    console.run_started(made_run(), 1, 1)  # three lines of 34 to 40 characters
    before = out.tell()
    console._console.width = 20
    console.progress("next")
    assert out.getvalue()[before:].split("next")[0].count("\x1b[2K") == 6
    console.close()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = StringIO()
    console = TextReporter(file=out, terminal=True)
    console.run_started(made_run(), 1, 1)
    console.close()
    assert "[1/1] resnet18/sgd/flip_crop/kornia/seed0 started" in out.getvalue()
    assert "\x1b[?25l" not in out.getvalue()


# Standard output is a pipe that nobody reads.
PROGRAM = """
import os, signal, sys
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(writer)
os.close(reader)
{before}
from bench.cli.progress import Output
output = Output(sys.stdout)
for word in ("one", "two"):
    try:
        output.write(word + "\\n")
    except KeyboardInterrupt:
        print("asked to stop", file=sys.stderr)
print("dropped without a complaint")
"""


@pytest.mark.parametrize(
    ("before", "lines"),
    [
        ("", "asked to stop\ntwo\n"),
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", "one\ntwo\n"),  # as nohup does
    ],
)
def test_a_closed_reader_stops_the_command_and_redirects_output(before: str, lines: str) -> None:
    done = checkout.python(PROGRAM.format(before=before))
    assert (done.returncode, done.stderr) == (0, lines)
