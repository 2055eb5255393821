"""The worker: every exception has its status, output goes to the log, it ends when it should."""

import errno
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import psutil
import pytest
import torch

from bench.executors import worker
from bench.executors.protocol import EpochDone, Ready, read_message
from bench.executors.worker import failure_of, out_of_memory_message, run_job, status_of
from bench.job import Job, RecordBuilder
from bench.machine import environment
from bench.machine.cpu import RUN_IN_PROGRESS
from bench.record import Memory
from bench.training import run as running
from bench.training.run import Diverged
from bench.training.setup import Shared
from pipelines.base import Unsupported
from pipelines.catalog import Unavailable
from tests import checkout
from tests.executors.fake_cluster import tiny_job
from tests.made import made_cell, made_curve, made_metrics, made_run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unsupported("kornia has no Mix"), "skipped"),
        (Unavailable("no such library"), "skipped"),
        (Diverged("the loss is nan"), "diverged"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allo"), "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom"),
        (RuntimeError("CUDA runtime API error cudaErrorMemoryAllocation (2)"), "oom"),
        (RuntimeError("std::bad_alloc"), "oom"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "crashed"),
        (ValueError("out of memory"), "crashed"),
        (OSError(errno.ENOSPC, "No space left on device"), "crashed"),
    ],
)
def test_every_exception_has_a_status(error: Exception, status: str) -> None:
    assert status_of(error) == status


def test_a_failure_has_the_message_the_end_of_the_traceback_and_the_log() -> None:
    def deep(left: int) -> None:
        if not left:
            raise ValueError("boom\nsecond line")
        deep(left - 1)

    with pytest.raises(ValueError, match="boom") as caught:
        deep(100)
    found = failure_of(caught.value, Path("/results/group/logs/0123.log"))
    assert (found.type, found.message) == ("ValueError", "boom\nsecond line")
    lines = found.traceback.splitlines()
    assert len(lines) <= 40
    assert lines[-2:] == ["ValueError: boom", "second line"]
    assert found.log == "logs/0123.log"
    assert failure_of(MemoryError(), Path("x.log")).message == "MemoryError"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(worker, "redirect_output", lambda log: None)  # this process keeps its own
    return Job(run=made_run(), folder=str(tmp_path), data_dir=str(tmp_path), command="bench run")


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
def test_others_see_that_a_run_is_at_work(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def train(builder: RecordBuilder, shared: Shared, on_point: object) -> None:
        seen.append(psutil.Process().name())
        raise ValueError("and no longer when it fails")

    monkeypatch.setattr(running, "train", train)
    run_job(job, Shared(), BytesIO(), import_s=1.0)
    assert seen == [RUN_IN_PROGRESS] != [psutil.Process().name()]


def test_a_good_run_is_told_point_by_point(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(builder: RecordBuilder, shared: Shared, on_point: object) -> None:
        builder.memory = Memory(host_gib=1.5)
        for point in made_curve(2, 100, 0.5):
            builder.curve.append(point)
            on_point(point)
        builder.metrics = made_metrics(0.5, None)

    monkeypatch.setattr(running, "train", train)
    stream = BytesIO()
    record = run_job(job, Shared(), stream, import_s=1.5)
    assert (record.status, record.error) == ("ok", None)
    assert record.timings.import_s == 1.5
    messages = [read_message(line) for line in stream.getvalue().splitlines()]
    assert all(isinstance(message, EpochDone) for message in messages)
    assert [message.point for message in messages] == list(record.curve)
    assert all(message.memory.host_gib == 1.5 for message in messages)
    assert list(Path(job.folder).glob("tensorboard/*/events.out.tfevents.*"))


def test_a_run_that_raises_keeps_what_is_known_of_it(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(builder: RecordBuilder, shared: Shared, on_point: object) -> None:
        builder.curve += made_curve(1, 100, 0.5)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(running, "train", train)
    record = run_job(job, Shared(), BytesIO(), import_s=0.0)
    assert record.status == "oom"
    assert record.error.type == "OutOfMemoryError"
    assert len(record.curve) == 1
    assert "CUDA out of memory" in capsys.readouterr().err


def test_unwritable_artifacts_leave_a_run_ok(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(job.folder)
    for name in ("tensorboard", "predictions", "examples"):
        (folder / name).write_text("a file")
    record = run_job(tiny_job(folder), Shared(), BytesIO(), import_s=0.0)
    assert record.status == "ok"
    output = capsys.readouterr().out
    for name in ("tensorboard", "predictions"):
        assert f"{folder}/{name}" in output


def test_a_worker_ends_with_its_input_and_ignores_the_current_folder(tmp_path: Path) -> None:
    for name in ("bench", "pipelines", "architectures", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('another package')")
    done = subprocess.run(
        environment.python_module("bench.executors.worker"),
        env=environment.python_environment(),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert isinstance(read_message(line), Ready)


IMPORTING = """
import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path
from bench.executors import worker
from tests.executors.fake_cluster import tiny_job

for name in worker.NEEDED_MODULES:
    import_module(name)
from bench.training.setup import Shared
before = {name.partition(".")[0] for name in sys.modules}
worker.redirect_output = lambda log: None
record = worker.run_job(tiny_job(Path(sys.argv[1])), Shared(), BytesIO(), 0.0)
print(record.status, *{name.partition(".")[0] for name in sys.modules} - before)
"""


def test_a_run_imports_no_library_that_the_worker_has_not(tmp_path: Path) -> None:
    environ = environment.python_environment()
    done = checkout.python(IMPORTING, str(tmp_path), cwd=tmp_path, env=environ)
    assert done.stdout.split() == ["ok"], done.stdout + done.stderr


REDIRECTED = """
import ctypes, os, sys
from pathlib import Path
from bench.executors.worker import redirect_output
print("before")
redirect_output(Path("logs/a.log"))
print("from Python", flush=True)
print("an error", file=sys.stderr)
os.system("echo from a child")
redirect_output(Path("logs/b.log"))
print("of the next run", flush=True)
"""


def test_what_is_printed_goes_to_the_log_of_its_run(tmp_path: Path) -> None:
    done = checkout.python(REDIRECTED, cwd=tmp_path, env=environment.python_environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "before\n", "")
    first = (tmp_path / "logs" / "a.log").read_text().splitlines()
    assert sorted(first) == ["an error", "from Python", "from a child"]
    assert (tmp_path / "logs" / "b.log").read_text() == "of the next run\n"


def test_running_out_of_memory_is_told_with_its_peak_and_with_what_makes_the_cell_smaller() -> None:
    cell = made_cell(batch_size=512, width=1.0)
    peak = Memory(host_gib=2.0, torch_gib=77.5, device_gib=79.0)
    error = torch.OutOfMemoryError("CUDA out of memory.")
    headline, cause = out_of_memory_message(error, cell, peak).split("\n")
    for part in ("batch size 512", "77.50 GiB of tensors", "79.00 GiB in use", "2.00 GiB of the"):
        assert part in headline
    assert "--set batch_size=256 or --set width=0.5" in headline
    assert cause == "CUDA out of memory."
    text = out_of_memory_message(MemoryError(), replace(cell, batch_size=1), Memory())
    assert "peak" not in text
    assert "batch_size=" not in text
    assert text.endswith("\nMemoryError")
