"""What every reader of records relies on is checked when one is read and when one is written."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bench.ranges import LARGEST
from bench.record import Record, Throughput
from bench.record_text import RecordError, encode
from bench.soundness import misfits, outside
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
    assert not list(misfits(record))
    assert not list(outside(msgspec.to_builtins(record)))


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
        (scored(confusion=((-40, 10), (5, 45))), "metrics.confusion[0][0] is -40, which lies"),
        (
            replace(made_record(), throughput=Throughput(median=1.0, p5=1.0, p95=1.0, ceiling=0.0)),
            "throughput.ceiling is 0",
        ),
    ],
)
def test_what_no_run_can_leave_is_told_and_not_written(record: Record, said: str) -> None:
    with pytest.raises(RecordError, match=f"cannot be kept: {re.escape(said)}"):
        encode(record)


ODD = (-1, -0.0005, -0.5, 0, 0.0, 1, 1.0005, 1.5, LARGEST, 2 * LARGEST, 10**16, 10**30, -(10**30))


def numbers(plain: Any) -> Iterator[tuple[Any, Any]]:
    """Where numbers stand in plain data: a container and a key."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for key, value in list(items):
        if isinstance(value, dict | list):
            yield from numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield plain, key


def refusal(plain: Any) -> str:
    """Why plain data is no record, as msgspec says it; "" if it is one."""
    try:
        msgspec.convert(plain, Record, strict=True)
    except msgspec.ValidationError as error:
        return str(error).partition(" - at ")[0]
    return ""


def test_what_is_refused_for_its_range_is_what_lies_outside() -> None:
    plain = msgspec.json.decode(encode(made_record(epochs=2)))
    found = Counter[bool]()
    for part, key in list(numbers(plain)):
        right = part[key]
        for part[key] in ODD:
            told, refused = bool(list(outside(plain))), refusal(plain)
            of_range = re.match("Expected `(int|float)` [<>]=", refused) is not None
            assert of_range <= told <= bool(refused), refused
            found[not told] += 1
        part[key] = right
    assert min(found[True], found[False]) > 100
