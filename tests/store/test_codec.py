"""Records: written ones can be read, and anything else is refused."""

import json
import math
import re
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
from bench.store.codec import NewerRecord, RecordError, decode, decode_as, encode, to_json
from tests.made import made_failure, made_record

MEASURED = st.floats(0, LARGEST)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | FLOATS | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "record", [made_record(), made_failure(), made_record(protocol="speedrun")]
)
def test_a_record_survives_a_round_trip(record: Record) -> None:
    assert replace(decode(encode(record)), content_hash="") == record


@given(
    train_s=MEASURED,
    median=MEASURED,
    message=st.text(st.characters()),
    energy_j=st.none() | MEASURED,
)
def test_any_numbers_and_texts_survive_a_round_trip(
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
    assert found.error.message == message.encode(errors="replace").decode()


@given(environment=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_environment_is_kept_and_decoded_only_once(environment: dict[str, Any]) -> None:
    text = encode(made_record(record={"environment": environment}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_check", lambda text: pytest.fail("it was decoded twice"))
        assert decode(text).environment == environment


@pytest.mark.parametrize("inside", [b"\n", b"\t", b"\n\t\t"])
def test_spaces_within_texts_are_kept(inside: bytes) -> None:
    text = encode(made_record(record={"environment": {"os": "here"}}))
    with pytest.raises(RecordError, match="not JSON"):
        decode(text.replace(b"here", b"he" + inside + b"re"))


@pytest.mark.parametrize("record", [made_record(), made_failure()])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_summary_is_the_record_without_its_curve(record: Record, indent: int | None) -> None:
    """In any order of keys and with any whitespace between them."""
    text = encode(record)
    if indent is not None:
        turned = dict(reversed(json.loads(text).items()))
        text = json.dumps(turned, indent=indent).encode()
    seen, whole = decode_as(RecordSummary, text), decode(text)
    assert whole == decode(encode(record))
    for field in fields(RecordSummary):
        assert getattr(seen, field.name) == getattr(whole, field.name)
    assert (seen.name, seen.run, seen.ends_worker) == (whole.name, whole.run, whole.ends_worker)
    assert {field.name for field in fields(Record)} - {f.name for f in fields(RecordSummary)} == {
        "curve"
    }


def test_the_file_is_strict_json_with_its_hash_once() -> None:
    environment = {"load": math.inf, "list": [math.nan, 1.0], "data": PurePosixPath("a/b")}
    record = made_record(record={"environment": environment})
    curve = (replace(record.curve[0], train_loss=math.nan), *record.curve[1:])
    text = encode(replace(record, curve=curve))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert len(text.splitlines()) == 1
    plain = json.loads(text, parse_constant=refuse)
    assert plain["environment"] == {"load": None, "list": [None, 1.0], "data": "a/b"}
    assert plain["curve"][0]["train_loss"] is None
    assert decode(text).curve[0].train_loss is None
    record = made_record(record={"environment": {"content_hash": "0" * 64}})
    text = encode(record)
    assert decode(text).environment == record.environment
    own = decode(text).content_hash
    with pytest.raises(RecordError, match="hash does not match"):
        decode(text.replace(b"0" * 64, own.encode()))


@given(data=st.data())
def test_a_changed_or_truncated_file_is_detected(data: st.DataObject) -> None:
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
    ("text", "reason"),
    [
        (b"", "not JSON"),
        (b"\0" * 100, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "does not hold a JSON object"),
        (b"{}", "no schema_version"),
        (b'{"schema_version": 1}', "hash does not match"),
    ],
)
def test_invalid_records_are_refused_with_the_reason(text: bytes, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        decode(text)


def test_a_newer_schema_and_a_changed_curve_are_detected() -> None:
    text = encode(made_record(record={"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(NewerRecord, match=f"schema {SCHEMA_VERSION + 1}, but this"):
        decode(text)
    with pytest.raises(RecordError, match="hash does not match"):
        decode_as(RecordSummary, encode(made_record()).replace(b'"epoch":1,', b'"epoch":2,'))


def inside(part: str, **changes: Any) -> dict[str, Any]:
    return {part: msgspec.to_builtins(getattr(made_record(), part)) | changes}


def pointed(**changes: Any) -> dict[str, Any]:
    first, *others = msgspec.to_builtins(made_record().curve)
    return {"curve": [first | changes, *others]}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"status": "splendid"}, "status"),
        ({"seed": -1}, "seed"),
        ({"attempt": 0}, "attempt"),
        ({"parameters": 10**16}, "parameters"),
        (inside("timings", train_s=-0.5), "timings.train_s"),
        (inside("timings", total_s=2 * LARGEST), "timings.total_s"),
        (pointed(epoch=0), "curve[0].epoch"),
        (pointed(images_per_s=-1.0), "curve[0].images_per_s"),
        (pointed(validation_accuracy=1.5), "curve[0].validation_accuracy"),
        (inside("metrics", accuracy=94.0), "metrics.accuracy"),
        (inside("metrics", time_to_accuracy_s=-1.0), "metrics.time_to_accuracy_s"),
        (inside("metrics", per_class=[]), "metrics"),
        (inside("metrics", confusion=[[40, 10]]), "metrics"),
        (inside("metrics", confusion=[[40, 10], [5]]), "metrics"),
        (inside("metrics", confusion=[[-40, 10], [5, 45]]), "metrics.confusion[0][0]"),
        (inside("throughput", ceiling=0.0), "throughput.ceiling"),
    ],
)
def test_a_record_with_an_impossible_value_is_refused(changes: dict[str, Any], where: str) -> None:
    plain = msgspec.json.decode(encode(made_record())) | changes
    with pytest.raises(RecordError, match=re.escape(f"at `$.{where}`")):
        decode(to_json(plain))


def test_a_record_with_an_impossible_value_is_not_written() -> None:
    for record in (
        replace(made_record(), seed=-1),
        replace(made_record(), timings=Timings(train_s=-0.5)),
        replace(made_record(), throughput=Throughput(median=math.nan, p5=1.0, p95=1.0)),
    ):
        with pytest.raises(RecordError, match="cannot be kept: Expected"):
            encode(record)


@pytest.mark.parametrize("size", [100_001, 40_000_000])
def test_texts_of_a_record_keep_their_ends(size: int) -> None:
    text = "the start" + "x" * size + "the end"
    failure = Failure(type="RuntimeError", message=text, traceback=text)
    record = replace(made_failure(), error=failure, environment={"cpu": text})
    kept = codec.decode(codec.encode(record))
    assert kept.error is not None
    for cut in (kept.error.message, kept.error.traceback, kept.environment["cpu"]):
        assert cut.startswith("the start")
        assert cut.endswith("the end")
        assert len(cut) < 101_000
