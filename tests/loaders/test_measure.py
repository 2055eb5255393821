"""How `bench loaders` controls its workers: in turns, without losing rows."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.loaders import measure
from bench.loaders.plan import Candidate, Plan
from bench.report.loaders import rows
from tests.conftest import WorkerRuns
from tests.made_loaders import made_loaders

pytestmark = pytest.mark.usefixtures("actor")

ACTOR = """
import json, os, sys, time

def say(**message):
    print(json.dumps(message), flush=True)

with open("pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
memory, repeat = {"host_gib": 0.5}, {"images": 8, "batch_s": 0.1, "images_per_s": 80.0}
quiet = {"cpu_others_pct": 1.0, "cpu_waited_pct": 30.0}
busy = {"cpu_others_pct": 60.0, "cpu_waited_pct": 30.0}
repeats, name = 0, ""
say(type="Ready", import_s=0.1)
for line in sys.stdin:
    order = json.loads(line)
    name = order.get("pipeline", "").partition("[")[0] or name
    if order["type"] == "Describe":
        say(type="Described", environment={"cpu": "made"}, bandwidth_gb_per_s=10.0)
    elif order["type"] == "Build":
        if name == "fails":
            say(type="Failed", status="oom", reason="out of memory")
            break
        if name == "babbles":
            print("hello", flush=True)
        if name == "hangs":
            time.sleep(600)
        say(type="Built", build_s=0.1, first_batch_s=1.0, bytes_per_image=100,
            draws={"Crop": "per sample"}, memory=memory)
    else:
        if name == "dies":
            os.abort()
        repeats += not order["cold"]
        on_gpu = name.startswith("gpu")  # with two others; so many first repeats are disturbed
        conditions = busy if on_gpu and repeats <= int(name[3:]) else quiet
        say(type="Measured", repeat=repeat | {"page_cache": "cold" if order["cold"] else "warm"},
            memory=memory, recompiled=0, processes_gib=[0.5, 2.0, 1.0][min(repeats, 2)],
            conditions=conditions | {"gpu_others": 2 * on_gpu})
"""


@pytest.fixture
def actor(worker_runs: WorkerRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    worker_runs(ACTOR)


def made_plan(folder: Path, *candidates: Candidate, **changes: Any) -> Plan:
    fields: dict[str, Any] = {"batch_sizes": (8, 16), "repeats": 3, "patience_s": 30.0} | changes
    return Plan(
        header=made_loaders(),
        candidates=candidates,
        data_dir=folder,
        folder=folder / "group",
        notices=(),
        **fields,
    )


def named(*names: str) -> list[Candidate]:
    return [Candidate(name=name) for name in names]


ABSENT = Candidate(name="absent", problem="it is not installed")


def none_is_left(folder: Path) -> bool:
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    return bool(pids) and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_failure_becomes_a_row_and_others_continue(tmp_path: Path) -> None:
    candidates = named("works", "fails", "dies", "babbles", "hangs")
    said: list[str] = []
    record = measure.measure(made_plan(tmp_path, *candidates, ABSENT, patience_s=1.0), said.append)
    assert record.environment == {"cpu": "made"}
    assert record.bandwidth_gb_per_s == 10.0
    assert len(record.series) == 2 * 6
    found = {one.pipeline: one for one in record.series if one.batch_size == 16}
    assert {name: one.status for name, one in found.items()} == {
        "works": "ok",
        "fails": "oom",
        "dies": "crashed",
        "babbles": "crashed",
        "hangs": "timeout",
        "absent": "skipped",
    }
    assert found["fails"].reason == "out of memory"
    assert "SIGABRT" in found["dies"].reason
    assert "logs/loaders-dies-16.log" in found["dies"].reason
    assert "no answer within 1 s" in found["hangs"].reason
    assert found["absent"].reason == "it is not installed"
    assert len(found["works"].repeats) == 3
    assert measure.exit_code(record) == 1
    assert none_is_left(tmp_path)
    assert any("dies: the worker was killed" in line for line in said)


def test_an_early_interruption_leaves_no_child_and_no_record(tmp_path: Path) -> None:
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure.measure(made_plan(tmp_path, *named("a", "b")), stop)
    assert none_is_left(tmp_path)


def test_repeats_alternate_between_pipelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    before = measure.ask

    def ask(child: Any, order: Any, kind: Any, timeout_s: float) -> Any:
        asked.append((child.key, type(order).__name__))
        return before(child, order, kind, timeout_s)

    monkeypatch.setattr(measure, "ask", ask)
    plan = made_plan(tmp_path, *named("a", "b"), ABSENT, batch_sizes=(8,))
    record = measure.measure(plan, print)
    assert measure.exit_code(record) == 0, "a skipped row is no failure"
    measured = [key for key, order in asked if order == "Measure"]
    assert measured == ["loaders-a-8", "loaders-b-8"] * 3
    last_build = max(index for index, (_, order) in enumerate(asked) if order == "Build")
    assert last_build < asked.index(("loaders-a-8", "Measure"))


def test_a_cold_repeat_of_what_reads_files_comes_first_and_is_no_repeat(tmp_path: Path) -> None:
    candidates = [Candidate(name="decodes", reads="files"), *named("array")]
    gone = (tmp_path / "gone.jpg",)
    plan = made_plan(tmp_path, *candidates, batch_sizes=(8,), cold=True, files=gone)
    decodes, array = measure.measure(plan, print).series
    assert decodes.cold is not None
    assert (decodes.cold.page_cache, array.cold) == ("cold", None)
    assert [one.page_cache for one in decodes.repeats] == ["warm"] * 3
    assert decodes.processes_gib == 2.0, "the peak of all repeats"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_results_and_reports_missing_ones(
    tmp_path: Path, stop: signal.Signals
) -> None:
    def report(text: str) -> None:
        if text == "batch size 16: repeat 3 of 3":
            os.kill(os.getpid(), stop)

    plan = made_plan(tmp_path, *named("a", "b"), ABSENT, batch_sizes=(8, 16, 32))
    record = measure.measure(plan, report)
    assert measure.exit_code(record) == 130
    assert len(record.series) == 9
    found = {(one.pipeline, one.batch_size): one for one in record.series}
    assert found["a", 8].status == found["b", 8].status == "ok"
    assert found["absent", 32].status == "skipped"
    for name in ("a", "b"):
        cut = found[name, 16]
        assert (cut.status, cut.reason) == ("interrupted", "stopped after 2 of 3 repeats")
        assert (len(cut.repeats), cut.first_batch_s) == (2, 1.0)
        assert found[name, 32].reason == "the command ended before it was started"
    assert none_is_left(tmp_path)


def test_a_slow_series_gets_the_repeats_that_a_rank_needs(tmp_path: Path) -> None:
    # The actor says 8 images at 80 a second: 0.1 s.
    plan = made_plan(tmp_path, *named("a"), batch_sizes=(8,), repeats=9, series_s=0.45)
    (series,) = measure.measure(plan, print).series
    assert (series.status, len(series.repeats)) == ("ok", 5)
    (series,) = measure.measure(replace(plan, series_s=0.0), print).series
    assert (series.status, len(series.repeats)) == ("ok", 3)


def test_disturbed_repeats_are_measured_again_up_to_as_many_as_asked_for(tmp_path: Path) -> None:
    said: list[str] = []
    plan = made_plan(tmp_path, *named("gpu0", "gpu2", "gpu99"), batch_sizes=(8,))
    record = measure.measure(plan, said.append)
    assert measure.exit_code(record) == 0
    assert said[-2:] == [
        f"batch size 8: disturbed repeats again, {number} of at most 3" for number in (2, 3)
    ]
    found = {one.pipeline: one for one in record.series}
    assert [len(one.repeats) for one in found.values()] == [3, 5, 6]
    assert [len(one.used) for one in found.values()] == [3, 3, 6]
    assert [one.times_trusted for one in found.values()] == [True, True, False]
    reason = (
        "other processes used 60 % of the CPU, and this one waited for a core in 30 % of its time"
    )
    assert set(found["gpu99"].timing_suspect) == {reason}, "the two others on the GPU are our own"
    ranks = [(row["pipeline"], row["rank"]) for row in rows(record)]
    assert ranks == [("gpu0", "1-3"), ("gpu2", "1-3"), ("gpu99", None)]
