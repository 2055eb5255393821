"""Progress for programs: one object a line, whatever happens, and nothing else."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from bench.console_json import JsonConsole
from bench.record import Memory
from tests.made import made_failure, made_record, made_run
from tests.test_console import Plan

DOCS = Path(__file__).resolve().parents[1] / "docs" / "reading.md"


def events() -> list[dict[str, Any]]:
    """What a grid of two runs tells: one ends well, one does not."""
    out = StringIO()
    console = JsonConsole(file=out)
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
    JsonConsole(file=out).run_finished(record)
    assert json.loads(out.getvalue())["accuracy"] is None


def test_every_event_and_field_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for event in events():
        for name in event:
            assert f"`{name}`" in text, name
        assert f"`{event['event']}`" in text
