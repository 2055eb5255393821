"""What every reader of records relies on is checked when one is read and when one is written."""

from dataclasses import replace
from typing import Any

import pytest

from bench.record import Record, RecordError, Throughput, encode
from bench.soundness import LARGEST, problem
from tests.made import made_failure, made_record


def scored(**changes: Any) -> Record:
    record = made_record()
    assert record.metrics is not None
    return replace(record, metrics=replace(record.metrics, **changes))


def pointed(**changes: Any) -> Record:
    record = made_record()
    return replace(record, curve=(replace(record.curve[0], **changes), *record.curve[1:]))


def timed(**changes: Any) -> Record:
    record = made_record()
    return replace(record, timings=replace(record.timings, **changes))


@pytest.mark.parametrize(
    "record", [made_record(), made_failure(), made_record(protocol="speedrun")]
)
def test_a_record_as_runs_leave_it_is_sound(record: Record) -> None:
    assert problem(record) == ""


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (replace(made_record(), seed=-1), "seed is -1, which lies outside 0 to 1e+15"),
        (replace(made_record(), attempt=0), "attempt is 0"),
        (replace(made_record(), parameters=10**16), "parameters is 10000000000000000"),
        (timed(train_s=-0.5), "timings.train_s is -0.5"),
        (timed(total_s=2 * LARGEST), "timings.total_s is 2e+15"),
        (pointed(epoch=0), "curve[0].epoch is 0"),
        (pointed(images_per_s=-1.0), "curve[0].images_per_s is -1"),
        (pointed(validation_accuracy=1.5), "curve[0].validation_accuracy is 1.5"),
        (scored(accuracy=94.0), "metrics.accuracy is 94"),
        (scored(time_to_accuracy_s=-1.0), "metrics.time_to_accuracy_s is -1"),
        (scored(per_class=()), "metrics.per_class is empty"),
        (scored(confusion=((40, 10),)), "metrics.confusion has not 2 x 2 entries"),
        (scored(confusion=((40, 10), (5,))), "metrics.confusion has not 2 x 2 entries"),
        (scored(confusion=((-40, 10), (5, 45))), "metrics.confusion has counts from -40 to 45"),
        (
            replace(made_record(), throughput=Throughput(median=1.0, p5=1.0, p95=1.0, ceiling=0.0)),
            "throughput.ceiling is 0",
        ),
    ],
)
def test_what_no_run_can_leave_is_told_and_not_written(record: Record, said: str) -> None:
    assert problem(record).startswith(said)
    with pytest.raises(RecordError, match="cannot be kept: "):
        encode(record)
