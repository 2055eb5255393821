"""Records know their run; their scores are tested in `tests/training/test_metrics.py`."""

from tests.made import made_failure, made_record


def test_a_record_knows_its_run_and_whether_its_worker_ends() -> None:
    assert not made_record().ends_worker
    assert made_failure().ends_worker
    stepping = "launched one operation at a time: a CUDA graph of it failed (no memory)"
    assert made_record(record={"stepping": stepping}).ends_worker
    record = made_record(3)
    assert record.run.id == record.run_id
    assert record.name == f"{record.cell.name}/seed3"
