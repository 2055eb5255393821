"""The child process: takes jobs, gives records. It alone touches the device.

Jobs come as lines on standard input. Messages go out on a private copy of standard output, so that
nothing a library prints can be taken for one; what is printed goes to the run's log.

Which errors mean that memory ran out, and what is said of them.

torch has an exception for a GPU's memory that is full. On a CPU, in cuBLAS and cuDNN, and in DALI
the same is a RuntimeError that only its words tell from others.
"""

import errno
import faulthandler
import os
import signal
import sys
import time
import traceback
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bench.cell import Cell
from bench.executors.protocol import Done, EpochDone, Ready, read_job, send
from bench.job import Job, RecordBuilder
from bench.machine.cpu import run_in_progress, training_threads
from bench.process import die_with_parent, tolerate_full_disk
from bench.record import Failure, Memory, Point, Record, Status

if TYPE_CHECKING:
    from bench.training.setup import Shared

# torch._dynamo is what any optimizer imports when it is first used.
NEEDED = ("bench.training.run", "bench.tensorboard.events", "torch._dynamo")


def main() -> None:
    """Serves jobs until standard input ends or a run leaves the process in any state."""
    work(begin())


def begin() -> IO[bytes]:
    """Makes this process a worker; where its messages go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent()
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout, sys.stderr = tolerate_full_disk(1), tolerate_full_disk(2)
    faulthandler.enable()
    return messages


def work(messages: IO[bytes], import_s: float = 0.0) -> None:
    """Imports what runs need, says so, and serves jobs.

    Args:
        messages: As `begin` gives it.
        import_s: What imports before have taken.
    """
    start = time.perf_counter()
    shared = ready()
    import_s += time.perf_counter() - start
    send(messages, Ready(import_s=import_s))
    for line in sys.stdin.buffer:
        record = serve(read_job(line), shared, messages, import_s)
        send(messages, Done(record=record))
        if record.ends_worker:
            return


def ready() -> "Shared":
    """Imports what every run needs, so that none is charged with it."""
    for name in NEEDED:
        import_module(name)
    from bench.training.setup import Shared

    return Shared()


def serve(job: Job, shared: "Shared", messages: IO[bytes], import_s: float) -> Record:
    """Does one job; whatever it raises becomes the record's status."""
    import torch

    from bench.machine.monitor import peaks
    from bench.store.store import Store
    from bench.tensorboard.run_log import RunLog, kept_positives
    from bench.training.run import train

    store = Store(Path(job.folder))
    redirect_output(store.log_path(job.run.id))
    draft = RecordBuilder(job=job)
    draft.timings["import_s"] = import_s
    log = RunLog(store.tensorboard_path(job.run), on_error=lambda text: print(text, flush=True))

    def on_point(point: Point) -> None:
        log.point(point)
        peak = peaks(torch.device(job.run.cell.device))
        send(messages, EpochDone(point=point, memory=peak))

    try:
        with run_in_progress(), plugged(job), training_threads(job.run.cell):
            train(draft, shared, on_point)
        record = draft.record("ok")
    except Exception as error:  # noqa: BLE001 - every fault of a run is a row of the matrix
        traceback.print_exc()
        with suppress(RuntimeError):  # a GPU after some errors answers nothing any more
            draft.memory = peaks(torch.device(job.run.cell.device))
        found = failure(error, store.log_path(job.run.id))
        status = status_of(error)
        if status == "oom":
            found = replace(found, message=told(error, job.run.cell, draft.memory))
        record = draft.record(status, found)
    log.finish(record, kept_positives(store, record))
    return record


def plugged(job: Job) -> AbstractContextManager[None]:
    """The job's plugins, where it has some."""
    if not job.plugins:
        return nullcontext()
    from bench.grid.plugins import joined

    return joined(job.plugins)


def status_of(error: Exception) -> Status:
    """The status that an exception means."""
    from architectures import Unfit
    from bench.training.run import Diverged
    from pipelines.base import Unsupported
    from pipelines.catalog import Unavailable

    if isinstance(error, Unsupported | Unavailable | Unfit):
        return "skipped"
    if isinstance(error, Diverged):
        return "diverged"
    if ran_out(error):
        return "oom"
    return "crashed"


def failure(error: Exception, log: Path) -> Failure:
    """What the record keeps of an exception: the end of the traceback and where the log is."""
    lines = "".join(traceback.format_exception(error)).splitlines()[-40:]
    return Failure(
        type=type(error).__name__,
        message=str(error) or type(error).__name__,
        traceback="\n".join(lines),
        log=f"logs/{log.name}",
    )


def redirect_output(log: Path) -> None:
    """Sends everything printed from here on, by C libraries too, to the run's log.

    Where that cannot be made (a full disk), it goes on to where it went before.
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


SAID = (
    "out of memory",  # CUDA, DALI
    "can't allocate memory",  # torch's CPU allocator
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "memoryallocation",  # cudaErrorMemoryAllocation
    "bad_alloc",
)


def ran_out(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, of the device or of the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in SAID)


def told(error: BaseException, cell: Cell, peak: Memory) -> str:
    """Batch size, peak and what to do in one line; below it what the library said."""
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
    said = str(error) or type(error).__name__
    return (
        f"out of memory with batch size {cell.batch_size}{peaks}; the batch is never changed "
        f"unasked: {smaller}--set width={cell.width / 2:g} makes a cell that needs less\n{said}"
    )


if __name__ == "__main__":
    main()
