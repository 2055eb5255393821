"""The child process: takes jobs, gives records. It alone touches the device.

Jobs come as lines on standard input. Messages go out on a private copy of standard output, so that
nothing a library prints can be taken for one; what is printed goes to the run's log.
"""

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

from bench.draft import Draft, Job
from bench.messages import Done, EpochDone, Ready, read_job, send
from bench.neighbours import at_work
from bench.orphans import die_with_parent
from bench.output import forgiving
from bench.record import Failure, Point, Record, Status
from bench.threads import computing

if TYPE_CHECKING:
    from bench.prepare import Shared

# torch._dynamo is what any optimizer imports when it is first used.
NEEDED = ("bench.run", "bench.tensorboard.events", "torch._dynamo")


def main() -> None:
    """Serves jobs until standard input ends or a run leaves the process in any state."""
    work(begin())


def begin() -> IO[bytes]:
    """Makes this process a worker; where its messages go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent()
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout, sys.stderr = forgiving(1), forgiving(2)
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
    from bench.prepare import Shared

    return Shared()


def serve(job: Job, shared: "Shared", messages: IO[bytes], import_s: float) -> Record:
    """Does one job; whatever it raises becomes the record's status."""
    import torch

    from bench.memory import peaks
    from bench.out_of_memory import told
    from bench.run import train
    from bench.store import Store
    from bench.tensorboard import RunLog, kept_positives

    store = Store(Path(job.folder))
    redirect_output(store.log_path(job.run.id))
    draft = Draft(job=job)
    draft.timings["import_s"] = import_s
    log = RunLog(store.tensorboard_path(job.run), on_error=lambda text: print(text, flush=True))

    def on_point(point: Point) -> None:
        log.point(point)
        peak = peaks(torch.device(job.run.cell.device))
        send(messages, EpochDone(point=point, memory=peak))

    try:
        with at_work(), plugged(job), computing(job.run.cell):
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
    from bench.plugins import joined

    return joined(job.plugins)


def status_of(error: Exception) -> Status:
    """The status that an exception means."""
    from architectures import Unfit
    from bench.out_of_memory import ran_out
    from bench.run import Diverged
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


if __name__ == "__main__":
    main()
