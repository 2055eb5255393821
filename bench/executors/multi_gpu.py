"""Trains runs on several GPUs of this host at once, with one worker on each.

Runs that share a compiled model go to the same worker as long as there are other models for the
other GPUs; an idle GPU takes any remaining run.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bench.executors.base import Watcher
from bench.executors.local import LocalExecutor, interrupted_record
from bench.executors.protocol import TERM_GRACE_S, Done, EpochDone
from bench.job import Job, RecordBuilder
from bench.machine.environment import run_command
from bench.process import signals_allowed
from bench.record import Record

QUERY = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_DEVICE = ("-1", "none", "void")
POLL_S = 0.05
JOIN_S = 0.1
GIVE_UP_S = 30.0

Event = tuple["Lane", EpochDone | Done | BaseException]


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU of this host.

    Args:
        index: Index in nvidia-smi; CUDA may use another order.
        uuid: Identifier, accepted by CUDA_VISIBLE_DEVICES.
    """

    index: str
    uuid: str
    name: str


def visible_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES makes visible, in its order, without using CUDA."""
    lines = (run_command(QUERY) or "").splitlines()
    rows = [[part.strip() for part in line.split(",", 2)] for line in lines]
    gpus = [Gpu(index=row[0], uuid=row[1], name=row[2]) for row in rows if len(row) == 3]
    return filter_visible(gpus, os.environ.get(VISIBLE))


def filter_visible(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES names.

    As in CUDA, the list ends at the first invalid entry. MIG instances are not supported.
    """
    if visible is None or not visible.strip():
        return list(gpus) if visible is None else []
    chosen: list[Gpu] = []
    for entry in map(str.strip, visible.split(",")):
        named = [gpu for gpu in gpus if entry and entry in (gpu.index, gpu.uuid[: len(entry)])]
        if entry.lower() in NO_DEVICE or len(named) != 1 or named[0] in chosen:
            break
        chosen += named
    return chosen


def same_model(gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs of the same model as the first, which names the results folder."""
    return [gpu for gpu in gpus if gpu.name == gpus[0].name]


class JobQueue:
    """Chooses the next job for a free lane; jobs with the same compiled model keep their order."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting: dict[tuple[str, ...], list[Job]] = {}
        for job in jobs:
            self._waiting.setdefault(job.run.worker_key, []).append(job)

    def take(self, lane: "Lane", lanes: Sequence["Lane"]) -> Job | None:
        """A job of the lane's model, else of a model without a lane, else any; None at the end.

        Of several models, the one with most jobs left, so that none is left over at the end.
        """
        left = {key: len(jobs) for key, jobs in self._waiting.items() if jobs}
        if not left:
            return None
        if lane.key not in left:
            others = {other.key for other in lanes if other is not lane}
            free = [key for key in left if key not in others]
            lane.key = max(free or left, key=left.__getitem__)
        assert lane.key is not None
        return self._waiting[lane.key].pop(0)


@dataclass(kw_only=True, eq=False)
class Lane:
    """A GPU and the thread that follows its worker; the thread outlives its workers.

    Args:
        key: Key of its worker's compiled model.
    """

    executor: LocalExecutor
    events: "queue.SimpleQueue[Event]"
    key: tuple[str, ...] | None = None
    builder: RecordBuilder | None = None
    _inbox: "queue.SimpleQueue[RecordBuilder | None]" = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        # Linux kills a worker when the thread that started it ends.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, job: Job) -> None:
        """Starts a job."""
        self.builder = RecordBuilder(job=job)
        self._inbox.put(self.builder)

    def _work(self) -> None:
        try:
            while (builder := self._inbox.get()) is not None:
                for message in self.executor.follow(builder.job, builder):
                    if isinstance(message, Done) and message.record.ends_worker:
                        self.executor.stop()
                    self.events.put((self, message))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.events.put((self, error))
        finally:
            self.executor.close()

    def finish(self) -> None:
        """Lets its thread end after the current job."""
        self._inbox.put(None)

    def signal(self, number: signal.Signals) -> bool:
        """Signals its worker and returns whether the thread has ended."""
        worker = self.executor.worker
        if worker is not None and worker.is_alive:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, number)
        self._thread.join(JOIN_S)
        return not self._thread.is_alive()


@dataclass(kw_only=True)
class MultiGpuExecutor:
    """Trains as many jobs at once as there are devices; see `Executor`.

    Args:
        devices: Values of CUDA_VISIBLE_DEVICES, one per worker.
    """

    devices: Sequence[str]
    timeout_s: float
    _lanes: list[Lane] = field(default_factory=list)
    _ended: list[Record] = field(default_factory=list)

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """Yields one record per job, in the order they end; see `Executor.run`."""
        waiting, events = JobQueue(jobs), queue.SimpleQueue[Event]()
        try:
            for device in self.devices:
                executor = LocalExecutor(
                    timeout_s=self.timeout_s, environment={VISIBLE: device}, prestart=True
                )
                self._lanes.append(Lane(executor=executor, events=events))
            for lane in self._lanes:
                self._start_next(lane, waiting, watcher)
            while any(lane.builder for lane in self._lanes):
                self._handle(*_next_event(events), waiting, watcher)
                while self._ended:
                    yield self._ended.pop(0)
        finally:
            self.close()

    def interrupted(self) -> list[Record]:
        """Finished records that were not yielded, then those of interrupted jobs."""
        builders = [lane.builder for lane in self._lanes if lane.builder is not None]
        return [*self._ended, *map(interrupted_record, builders)]

    def _start_next(self, lane: Lane, waiting: JobQueue, watcher: Watcher) -> None:
        job = waiting.take(lane, self._lanes)
        if job is None:
            lane.builder = None
            lane.finish()
            return
        watcher.started(job)
        lane.start(job)

    def _handle(
        self,
        lane: Lane,
        message: EpochDone | Done | BaseException,
        waiting: JobQueue,
        watcher: Watcher,
    ) -> None:
        assert lane.builder is not None
        match message:
            case EpochDone(point=point, memory=memory):
                watcher.epoch(lane.builder.job, point, memory)
            case Done(record=record):
                lane.builder = None
                self._ended.append(record)
                self._start_next(lane, waiting, watcher)
            case BaseException():
                raise message

    def close(self) -> None:
        """Ends all workers and waits for all their processes."""
        for lane in self._lanes:
            lane.finish()
        start, left = time.monotonic(), list(self._lanes)
        while left and time.monotonic() - start < GIVE_UP_S:
            gentle = time.monotonic() - start < TERM_GRACE_S
            number = signal.SIGTERM if gentle else signal.SIGKILL
            left = [lane for lane in left if not lane.signal(number)]


def _next_event(events: "queue.SimpleQueue[Event]") -> Event:
    while events.empty():
        with signals_allowed():
            time.sleep(POLL_S)
    return events.get_nowait()  # not interruptible, so that a stop never loses an event
