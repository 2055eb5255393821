"""A record can be built at any time, also of a run that failed or never started."""

import pytest

from bench.job import Job, RecordBuilder
from bench.record import Failure
from bench.store.codec import decode, encode
from tests.made import made_run

JOB = Job(run=made_run(seed=3), folder="f", data_dir="d", command="bench run")


def test_a_builder_without_results_gives_a_complete_record() -> None:
    record = RecordBuilder(job=JOB).record("skipped", Failure(type="Skipped", message="no such op"))
    assert decode(encode(record)).run_id == JOB.run.id == record.run_id
    assert (record.status, record.seed, record.command) == ("skipped", 3, "bench run")
    assert (record.cell, record.versions) == (JOB.run.cell, JOB.run.versions)
    assert record.fingerprint == JOB.run.fingerprint
    assert record.metrics is None
    assert record.error == Failure(type="Skipped", message="no such op")


def test_spans_of_one_name_add_up_and_survive_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.0, 20.0, 23.0, 100.0])
    monkeypatch.setattr("bench.job.time.perf_counter", lambda: next(ticks))
    builder = RecordBuilder(job=JOB, _start=0.0)
    with builder.timed("load_s"):
        pass
    with pytest.raises(RuntimeError), builder.timed("load_s"):
        raise RuntimeError
    record = builder.record("crashed")
    assert record.timings.load_s == 5.0
    assert record.timings.total_s == 100.0
