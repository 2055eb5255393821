"""Messages and jobs survive the pipe, one line each, whatever text is in them."""

from dataclasses import replace
from io import BytesIO

import msgspec
import pytest

from bench.executors.protocol import (
    Done,
    EpochDone,
    Message,
    Probed,
    Ready,
    read_job,
    read_message,
    send,
)
from bench.job import Job
from bench.machine.environment import Probe
from tests.made import made_curve, made_failure, made_record, made_run


@pytest.mark.parametrize(
    "message",
    [
        Ready(import_s=1.5),
        EpochDone(point=made_curve(1, 10, 0.5)[0]),
        Done(record=made_record()),
        Done(record=made_failure()),
    ],
)
def test_a_message_is_read_as_it_was_sent(message: Message) -> None:
    stream = BytesIO()
    send(stream, message)
    send(stream, Ready(import_s=2.0))
    first, second = stream.getvalue().splitlines()
    assert read_message(first) == message
    assert read_message(second) == Ready(import_s=2.0)


def test_a_job_is_read_as_it_was_sent() -> None:
    run = made_run(source="folder:/räksmörgås\nline two", width=0.1)
    job = Job(run=run, folder="a b", data_dir="d", command="bench run -k 'x'")
    stream = BytesIO()
    send(stream, job)
    assert stream.getvalue().count(b"\n") == 1
    found = read_job(stream.getvalue())
    assert found == job
    assert found.run.id == run.id


def test_what_the_device_can_do_is_read_as_it_was_sent() -> None:
    probed = Probed(probe=Probe(torch="2", cuda=True, gpu="NVIDIA H100", memory_gib=79.2))
    stream = BytesIO()
    send(stream, probed)
    assert msgspec.json.decode(stream.getvalue(), type=Probed) == probed
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b'{"type": "Ready", "import_s": 1.0}', type=Probed)


def test_a_loss_that_is_no_number_arrives_as_none() -> None:
    (point,) = made_curve(1, 10, 0.5)
    stream = BytesIO()
    send(stream, EpochDone(point=replace(point, train_loss=float("nan"))))
    assert read_message(stream.getvalue()) == EpochDone(point=replace(point, train_loss=None))


@pytest.mark.parametrize("line", [b"", b"hello", b'{"type": "Lunch"}', b'{"type": "Ready"}'])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_message(line)
