"""Messages survive the pipe, one line each; workers start, are read from, and end."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import msgspec
import psutil
import pytest

from bench.executors import protocol
from bench.executors.protocol import (
    Done,
    EpochDone,
    Message,
    Ready,
    Worker,
    WorkerLost,
    read_job,
    read_message,
    send,
)
from bench.job import Job
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


def test_a_loss_that_is_no_number_arrives_as_none() -> None:
    (point,) = made_curve(1, 10, 0.5)
    stream = BytesIO()
    send(stream, EpochDone(point=replace(point, train_loss=float("nan"))))
    assert read_message(stream.getvalue()) == EpochDone(point=replace(point, train_loss=None))


@pytest.mark.parametrize("line", [b"", b"hello", b'{"type": "Lunch"}', b'{"type": "Ready"}'])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_message(line)


@pytest.fixture
def stubborn() -> Iterator[Worker]:
    """A worker that ignores SIGTERM."""
    # One write, also where Python does not buffer what it prints.
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.write(1, b'1\\n')"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(600)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    yield Worker(process=process, key="")
    process.kill()
    process.wait()


def test_a_stubborn_worker_is_killed(stubborn: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TERM_GRACE_S", 0.2)
    with pytest.raises(WorkerLost, match="invalid message"):
        stubborn.receive(read_message, time.monotonic() + 240)
    stubborn.stop()
    assert stubborn.process.returncode == -signal.SIGKILL
    stubborn.stop()


def test_what_came_before_the_deadline_is_read_after_it(stubborn: Worker) -> None:
    assert stubborn.process.stdout is not None
    select.select([stubborn.process.stdout], [], [], 60)
    assert stubborn.receive(bytes.decode, time.monotonic() - 3600) == "1"
    with pytest.raises(TimeoutError):
        stubborn.receive(bytes.decode, time.monotonic() - 3600)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_start_with_the_settings_unless_the_user_has_set_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    worker = Worker.start("key", tmp_path / "log", module="code")  # waits for input
    try:
        deadline = time.monotonic() + 240
        while not (found := psutil.Process(worker.process.pid).environ()):  # before its exec
            assert time.monotonic() < deadline
    finally:
        worker.stop()
    assert found["MALLOC_MMAP_MAX_"] == "0"
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import os\nfor _ in range(100):\n    os.write(1, b'x' * 65536)\n",
            "sent a message of more than 1 MiB",
        ),
        (
            "import os, time\nos.close(1)\ntime.sleep(600)\n",
            "closed its output but did not end",
        ),
    ],
    ids=["a message without end", "mute"],
)
def test_a_worker_that_breaks_the_protocol_is_noticed(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LARGEST_MESSAGE", 2**20)
    monkeypatch.setattr(protocol, "TERM_GRACE_S", 0.2)
    (tmp_path / "breaking.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = Worker.start("key", tmp_path / "log", module="breaking")
    try:
        with pytest.raises(WorkerLost, match=message):
            worker.receive(read_message, time.monotonic() + 240)
    finally:
        worker.stop()
