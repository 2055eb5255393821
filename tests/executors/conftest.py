"""Workers that only pretend to train, and a look at child processes."""

import time
from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import WorkerRuns


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 240
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


@pytest.fixture
def no_child_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


ACTOR = """
import os, subprocess, sys, time
from bench.job import RecordBuilder
from bench.executors.protocol import Done, EpochDone, Ready, read_job, send
from bench.record import CAPTURE_FAILED, LAUNCHED, Failure
from tests.made import made_curve

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
send(out, Ready(import_s=0.0))
for line in sys.stdin.buffer:
    job = read_job(line)
    part = job.run.cell.architecture
    builder = RecordBuilder(job=job)
    builder.environment = {"pid": os.getpid(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
    builder.curve += made_curve(1, 100, 0.5)
    send(out, EpochDone(point=builder.curve[0]))
    if part == "hangs":
        time.sleep(600)
    if part == "naps":
        time.sleep(0.4)
    if part == "babbles":
        out.write(b"Hello!\\n")
        out.flush()
        time.sleep(600)
    if part == "leaves_children":
        child = subprocess.Popen(["sleep", "600"], stdout=out)
        print("child", child.pid, flush=True)
        os._exit(3)
    if part == "is_killed":
        os.kill(os.getpid(), 9)
    if part == "has_no_graph":
        builder.stepping = LAUNCHED + CAPTURE_FAILED
    if part == "fails":
        send(out, Done(record=builder.record("crashed", Failure(type="E", message="boom"))))
        break
    send(out, Done(record=builder.record("ok")))
    if part == "dies_afterwards":
        os._exit(0)
"""


@pytest.fixture
def actor(worker_runs: WorkerRuns) -> None:
    """Replaces the worker by one that does what its cell's architecture says."""
    worker_runs(ACTOR)
