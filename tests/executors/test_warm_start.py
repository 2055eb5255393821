"""The worker that is hired before the plan: it answers for the device, then works, or is let go."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.executors import local, protocol
from bench.executors.local import LocalExecutor, WarmStart, warm_start
from bench.executors.protocol import Worker
from bench.machine import environment
from bench.machine.environment import Probe
from tests.executors.test_local import children_of
from tests.made_cluster import tiny_job, watching

HERE = Probe(torch="1", cuda_problem="tried here")
ANSWERS = """
import os, sys, time
print('{"type": "Probed", "probe": {"torch": "9", "cuda": false}}', flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(children_of(os.getpid()))
    yield
    assert set(children_of(os.getpid())) == before


@pytest.fixture
def _tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "probe", lambda: HERE)


def played(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """The worker is this script."""
    path = folder / "played.py"
    path.write_text(script)
    monkeypatch.setattr(protocol, "python_module", lambda name: [sys.executable, str(path)])


def test_a_real_one_answers_as_the_probe_does_and_then_trains(tmp_path: Path) -> None:
    found = warm_start(keep_worker=True)
    try:
        assert found.probe == environment.probe()
        assert found.worker is not None
        pid = found.worker.process.pid
        executor = LocalExecutor(timeout_s=300.0, next_worker=found.take("cpu"))
        jobs = [tiny_job(tmp_path, seed) for seed in (0, 1)]
        records = []
        for record in executor.run(jobs, watching([])):
            assert executor.worker is not None
            assert executor.worker.process.pid == pid
            records.append(record)
        assert [record.status for record in records] == ["ok", "ok"]
        assert records[0].timings.import_s > 0
    finally:
        found.close()


@pytest.mark.usefixtures("_tried_here")
def test_nobody_is_hired_who_is_not_wanted() -> None:
    found = warm_start(keep_worker=False)
    assert (found.probe, found.worker) == (HERE, None)
    assert found.take("cpu") is None
    found.close()


@pytest.mark.parametrize(
    "script",
    ["import os; os.kill(os.getpid(), 11)", "print('hello')", "import sys; sys.exit(3)"],
    ids=["crashes", "babbles", "ends"],
)
@pytest.mark.usefixtures("_tried_here")
def test_one_that_does_not_answer_is_replaced_by_a_probe(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    played(monkeypatch, tmp_path, script)
    found = warm_start(keep_worker=True)
    assert (found.probe, found.worker) == (HERE, None)


def test_one_that_takes_too_long_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "PROBE_TIMEOUT_S", 1.0)
    played(monkeypatch, tmp_path, "import time; time.sleep(600)")
    said = "torch did not answer within 1 s"
    assert warm_start(keep_worker=True) == WarmStart(probe=Probe(cuda_problem=said))


def test_a_stop_while_it_is_waited_for_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(worker: Worker, *arguments: object) -> None:
        raise KeyboardInterrupt

    played(monkeypatch, tmp_path, "import time; time.sleep(600)")
    monkeypatch.setattr(Worker, "receive", stopped)
    with pytest.raises(KeyboardInterrupt):
        warm_start(keep_worker=True)


def test_one_that_nobody_takes_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, tmp_path, ANSWERS)
    found = warm_start(keep_worker=True)
    assert found.probe == Probe(torch="9")
    assert found.worker is not None
    found.close()
    found.close()
    assert found.worker is None


def test_one_that_has_touched_a_gpu_measures_no_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    played(monkeypatch, tmp_path, ANSWERS.replace("false", "true"))
    for device in ("cuda", "cpu"):
        found = warm_start(keep_worker=True)
        assert found.probe.cuda
        worker = found.take(device)
        assert (worker is not None) is (device == "cuda")
        if worker is not None:
            worker.stop()


def test_one_that_dies_before_its_first_run_costs_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        played(patched, tmp_path, ANSWERS.replace("time.sleep(600)", "sys.exit(3)"))
        found = warm_start(keep_worker=True)
    executor = LocalExecutor(timeout_s=300.0, next_worker=found.take("cpu"))
    (record,) = executor.run([tiny_job(tmp_path)], watching([]))
    assert record.status == "ok"
