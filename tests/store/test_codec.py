"""Records: what is written can be read, and nothing else is taken for one.

What every reader of records relies on is checked when one is read and when one is written.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import (
    LARGEST,
    SCHEMA_VERSION,
    Failure,
    Record,
    RecordSummary,
    Throughput,
    Timings,
)
from bench.store import codec
from bench.store.codec import NewerRecord, RecordError, decode, decode_as, encode, misfits, outside
from tests.made import made_failure, made_record

MEASURED = st.floats(0, LARGEST)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | FLOATS | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def without_hash(record: Record) -> Record:
    return replace(record, content_hash="")


@pytest.mark.parametrize(
    "record", [made_record(), made_failure(), made_record(protocol="speedrun")]
)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert without_hash(decode(encode(record))) == record


@given(train_s=MEASURED, median=MEASURED, message=st.text(), energy_j=st.none() | MEASURED)
def test_any_numbers_and_texts_come_back(
    train_s: float, median: float, message: str, energy_j: float | None
) -> None:
    record = made_record(
        record={
            "timings": Timings(train_s=train_s),
            "throughput": Throughput(median=median, p5=0.0, p95=1.0),
            "error": Failure(type="E", message=message),
            "energy_j": energy_j,
        }
    )
    found = decode(encode(record))
    assert (found.timings.train_s, found.energy_j) == (train_s, energy_j)
    assert found.error is not None
    assert found.error.message == message.encode(errors="replace").decode()


@given(environment=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_environment_is_kept_and_read_the_quick_way(environment: dict[str, Any]) -> None:
    text = encode(made_record(record={"environment": environment}))
    assert decode(text).environment == environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_as_anybody_may_write_it", refuse)
        assert decode(text).environment == environment


def refuse(text: bytes) -> Record:
    raise AssertionError("read the slow way")


@given(data=st.data())
def test_keys_and_spaces_may_stand_otherwise(data: st.DataObject) -> None:
    text = encode(made_record(record={"environment": {"b": 1, "a": {"d": 2.5, "c": None}}}))
    plain = json.loads(text)

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in data.draw(st.permutations(list(value)))}
        return value

    other = json.dumps(shuffled(plain), indent=data.draw(st.none() | st.integers(0, 3)))
    assert decode(other.encode()) == decode(text)


@pytest.mark.parametrize("inside", [b"\n", b"\t", b"\n\t\t"])
def test_space_within_a_text_is_no_space_between_parts(inside: bytes) -> None:
    text = encode(made_record(record={"environment": {"os": "here"}}))
    with pytest.raises(RecordError, match="not JSON"):
        decode(text.replace(b"here", b"he" + inside + b"re"))


@pytest.mark.parametrize("record", [made_record(), made_failure()])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_glance_is_the_record_without_its_curve(record: Record, indent: int | None) -> None:
    text = encode(record) if indent is None else json.dumps(json.loads(encode(record)), indent=1)
    seen = decode_as(RecordSummary, text if isinstance(text, bytes) else text.encode())
    whole = decode(encode(record))
    for field in fields(RecordSummary):
        assert getattr(seen, field.name) == getattr(whole, field.name)
    assert (seen.name, seen.run, seen.ends_worker) == (whole.name, whole.run, whole.ends_worker)
    assert {field.name for field in fields(Record)} - {f.name for f in fields(RecordSummary)} == {
        "curve"
    }


def test_a_glance_notices_a_change_in_the_curve_too() -> None:
    with pytest.raises(RecordError, match="hash does not match"):
        decode_as(RecordSummary, encode(made_record()).replace(b'"epoch":1,', b'"epoch":2,'))


def test_an_epoch_is_a_line() -> None:
    record = made_record(epochs=3)
    lines = encode(record).splitlines()
    assert sum(line.startswith(b'\t\t{"epoch":') for line in lines) == len(record.curve) == 3


def test_a_record_says_its_hash_once() -> None:
    record = made_record(record={"environment": {"content_hash": "0" * 64}})
    text = encode(record)
    assert decode(text).environment == record.environment
    own = decode(text).content_hash
    with pytest.raises(RecordError, match="hash does not match"):
        decode(text.replace(b"0" * 64, own.encode()))


def test_the_file_is_strict_json() -> None:
    record = made_record(record={"environment": {"load": math.inf, "list": [math.nan, 1.0]}})
    curve = (replace(record.curve[0], train_loss=math.nan), *record.curve[1:])
    text = encode(replace(record, curve=curve))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    plain = json.loads(text, parse_constant=refuse)
    assert plain["environment"] == {"load": None, "list": [None, 1.0]}
    assert plain["curve"][0]["train_loss"] is None
    assert decode(text).curve[0].train_loss is None


def test_texts_that_utf8_lacks_do_not_lose_a_record() -> None:
    error = Failure(type="OSError", message="cannot open caf\udce9.png")
    found = decode(encode(made_record(record={"error": error})))
    assert found.error is not None
    assert found.error.message == "cannot open caf?.png"


def test_values_of_other_types_in_the_environment_become_text() -> None:
    environment = {"data": PurePosixPath("a/b")}
    assert decode(encode(made_record(record={"environment": environment}))).environment == {
        "data": "a/b"
    }


def test_what_could_not_be_read_is_not_written() -> None:
    record = made_record(record={"throughput": Throughput(median=math.nan, p5=1.0, p95=1.0)})
    with pytest.raises(RecordError, match=r"kornia/seed0 cannot be kept.*median"):
        encode(record)


@given(data=st.data())
def test_a_changed_or_cut_file_is_noticed(data: st.DataObject) -> None:
    text = encode(made_record())
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    changed = text[:place] + bytes([byte]) + text[place + 1 :]
    for damaged in (changed, text[:place]):
        try:
            found = decode(damaged)
        except RecordError:
            continue
        assert json.loads(damaged) == json.loads(text), "a change of content went unnoticed"
        assert found == decode(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not JSON"),
        (b"\0" * 100, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"{}", "no schema_version"),
        (b'{"schema_version": 1}', "hash does not match"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(text: bytes, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        decode(text)


def test_a_newer_schema_is_told_apart() -> None:
    text = encode(made_record(record={"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(NewerRecord, match=f"schema {SCHEMA_VERSION + 1}.*upgrade"):
        decode(text)


def test_a_record_with_the_right_hash_but_wrong_fields_is_refused() -> None:
    plain = json.loads(encode(made_record()))
    plain |= {"status": "splendid", "content_hash": ""}
    canonical = msgspec.json.encode(plain, order="deterministic")
    plain["content_hash"] = hashlib.sha256(canonical).hexdigest()
    with pytest.raises(RecordError, match=r"not a valid record.*splendid"):
        decode(json.dumps(plain).encode())


def test_what_is_no_json_deep_inside_is_told_shortly() -> None:
    with pytest.raises(RecordError, match=r"^not JSON: ") as refused:
        decode(b"[" * 500 + b"1e999" + b"]" * 500)
    assert len(str(refused.value)) < 400


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
