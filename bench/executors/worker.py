"""The worker process, which trains jobs from its parent; only workers touch the device."""

import errno
import os
import select
import sys
import time
import traceback
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bench.cell import Cell
from bench.errors import LONGEST_TRACEBACK, innermost, shortened
from bench.executors.protocol import (
    PROBE,
    Done,
    EpochDone,
    Probed,
    Ready,
    become_worker,
    read_job,
    send,
)
from bench.job import Job, RecordBuilder
from bench.machine.cpu import run_in_progress, training_threads
from bench.machine.probe import probe_here
from bench.record import Failure, Memory, Point, Record, Status

if TYPE_CHECKING:
    from bench.training.setup import Shared

# Needed by every run, so imported before the first, as imports do not count as run time. The first
# use of any optimizer imports torch._dynamo.
NEEDED_MODULES = ("bench.training.run", "bench.tensorboard.events", "torch._dynamo")
COMPILER = "torch._inductor.compile_fx"  # needed by runs that compile a net or a pipeline
OUT_OF_MEMORY_PHRASES = (
    "out of memory",  # CUDA, DALI
    "can't allocate memory",  # torch's CPU allocator
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "memoryallocation",  # cudaErrorMemoryAllocation
    "bad_alloc",
)


def main() -> None:
    """Trains jobs until standard input ends or a run leaves an undefined state."""
    messages = become_worker()
    import_s = 0.0
    if PROBE in sys.argv[1:]:
        import_s += _import_s("torch")
        send(messages, Probed(probe=probe_here()))
    import_s += _import_s(*NEEDED_MODULES)
    send(messages, Ready(import_s=import_s))
    if not select.select([sys.stdin], [], [], 0)[0]:  # the parent is still planning
        import_s += _import_s(COMPILER)
    from bench.training.setup import Shared  # one of those that were just imported

    shared = Shared()
    for line in sys.stdin.buffer:
        record = run_job(read_job(line), shared, messages, import_s)
        send(messages, Done(record=record))
        if record.ends_worker:
            return


def _import_s(*modules: str) -> float:
    start = time.perf_counter()
    for module in modules:
        import_module(module)
    return time.perf_counter() - start


def run_job(job: Job, shared: "Shared", messages: IO[bytes], import_s: float) -> Record:
    """Trains one job; an exception becomes the record's status."""
    import torch

    from bench.machine.monitor import peaks
    from bench.store.store import Store
    from bench.tensorboard.run_log import RunLog, load_positives
    from bench.training.run import train

    store = Store(Path(job.folder))
    redirect_output(store.log_path(job.run.id))
    builder = RecordBuilder(job=job)
    builder.timings["import_s"] = import_s
    log = RunLog(store.tensorboard_path(job.run), on_error=lambda text: print(text, flush=True))

    def on_point(point: Point) -> None:
        log.point(point)
        send(messages, EpochDone(point=point, memory=builder.memory))

    try:
        with run_in_progress(), _plugins_of(job), training_threads(job.run.cell):
            train(builder, shared, on_point)
        record = builder.record("ok")
    except Exception as error:  # noqa: BLE001 - every failure is recorded
        traceback.print_exc()
        if builder.memory == Memory():  # it failed in its first epoch
            with suppress(RuntimeError):  # some errors make the GPU unusable
                builder.memory = peaks(torch.device(job.run.cell.device))
        status = status_of(error)
        failure = failure_of(error, store.log_path(job.run.id))
        if status == "oom":
            message = out_of_memory_message(error, job.run.cell, builder.memory)
            failure = replace(failure, message=message)
        record = builder.record(status, failure)
    log.finish(record, load_positives(store, record))
    return record


def _plugins_of(job: Job) -> AbstractContextManager[None]:
    if not job.plugins:
        return nullcontext()
    from bench.grid.plugins import registered

    return registered(job.plugins)


def status_of(error: Exception) -> Status:
    """The status of a run that raised this."""
    from architectures import Unfit
    from bench.training.run import Diverged
    from pipelines.base import Unsupported
    from pipelines.catalog import Unavailable

    if isinstance(error, Unsupported | Unavailable | Unfit):
        return "skipped"
    if isinstance(error, Diverged):
        return "diverged"
    if is_out_of_memory(error):
        return "oom"
    return "crashed"


def failure_of(error: Exception, log: Path) -> Failure:
    """The failure for a record: message, end of the traceback, name of the log."""
    kind, message = innermost(error)
    lines = "".join(traceback.format_exception(error)).splitlines()[-40:]
    return Failure(
        type=kind,
        message=shortened(message),
        traceback=shortened("\n".join(lines), LONGEST_TRACEBACK),
        log=f"logs/{log.name}",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device or the host ran out of memory.

    Only PyTorch's GPU allocator has an exception type; the CPU allocator, cuBLAS, cuDNN and DALI
    raise RuntimeError.
    """
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        phrase in text for phrase in OUT_OF_MEMORY_PHRASES
    )


def out_of_memory_message(error: BaseException, cell: Cell, peak: Memory) -> str:
    """Batch size, peak memory and advice in one line, then the library's message."""
    figures = [
        f"{gib:.2f} GiB {where}"
        for gib, where in (
            (peak.torch_gib, "of tensors on the GPU"),
            (peak.device_gib, "in use on the GPU"),
            (peak.host_gib, "of the process"),
        )
        if gib is not None
    ]
    peaks = f", peak {', '.join(figures)}" if figures else ""
    smaller = f"--set batch_size={cell.batch_size // 2} or " if cell.batch_size > 1 else ""
    return (
        f"out of memory with batch size {cell.batch_size}{peaks}; the batch size is never changed "
        f"automatically: {smaller}--set width={cell.width / 2:g} makes a cell that needs less\n"
        f"{shortened(innermost(error)[1])}"
    )


def redirect_output(log: Path) -> None:
    """Sends all further output, including that of C libraries and child processes, to the log.

    If the log cannot be written (a full disk), the output is not redirected.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        print(f"{log} cannot be written: {error}")
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


if __name__ == "__main__":
    main()
