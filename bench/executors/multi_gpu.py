"""The GPUs that runs may have here, without touching CUDA.

Runs jobs on several GPUs of this host at once, a worker on each.

Runs that share a compiled model go to one worker, one after another, as long as there are other
models for the others; a GPU that would be idle else helps with what is left.
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
from bench.executors.local import TERM_GRACE_S, LocalExecutor, cut_off
from bench.executors.protocol import Done, EpochDone
from bench.job import Job, RecordBuilder
from bench.machine.environment import run_command
from bench.process import signals_allowed
from bench.record import Record

QUERY = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
NONE = ("-1", "none", "void")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One of this host.

    Args:
        index: As nvidia-smi counts.
        uuid: Which CUDA_VISIBLE_DEVICES takes; CUDA counts in another order than nvidia-smi.
        name: Of the model.
    """

    index: str
    uuid: str
    name: str


def visible_gpus() -> list[Gpu]:
    """Those of this host that CUDA_VISIBLE_DEVICES leaves visible, in its order."""
    lines = (run_command(QUERY) or "").splitlines()
    parts = [[part.strip() for part in line.split(",", 2)] for line in lines]
    found = [Gpu(index=one[0], uuid=one[1], name=one[2]) for one in parts if len(one) == 3]
    return seen(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def seen(found: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Those that a value of CUDA_VISIBLE_DEVICES names.

    As CUDA does, it stops at the first word that names none. A part of a GPU (MIG) is none of its
    own here.
    """
    if visible is None or not visible.strip():
        return list(found) if visible is None else []
    chosen: list[Gpu] = []
    for word in map(str.strip, visible.split(",")):
        named = [gpu for gpu in found if word and (gpu.index == word or gpu.uuid.startswith(word))]
        if word.lower() in NONE or len(named) != 1 or named[0] in chosen:
            break
        chosen += named
    return chosen


def same_model(found: Sequence[Gpu]) -> list[Gpu]:
    """Those of the first one's model: results are filed under one."""
    return [gpu for gpu in found if gpu.name == found[0].name]


POLL_S = 0.05
JOIN_S = 0.1
GIVE_UP_S = 30.0
VISIBLE = "CUDA_VISIBLE_DEVICES"

Heard = tuple["Lane", EpochDone | Done | BaseException]


class Packing:
    """Which job a free lane takes next.

    Args:
        jobs: In their order, which those of one model keep.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting: dict[tuple[str, ...], list[Job]] = {}
        for job in jobs:
            self._waiting.setdefault(job.run.worker_key, []).append(job)

    def take(self, lane: "Lane", lanes: Sequence["Lane"]) -> Job | None:
        """The next job for a lane: of its model, else of one that no lane has, else of any.

        Of several models the one with most jobs left, so that none is alone at the end.
        """
        left = {key: len(jobs) for key, jobs in self._waiting.items() if jobs}
        if not left:
            return None
        others = {other.key for other in lanes if other is not lane}
        free = [key for key in left if key not in others]
        if lane.key not in left:
            lane.key = max(free or left, key=left.__getitem__)
        assert lane.key is not None
        return self._waiting[lane.key].pop(0)


@dataclass(kw_only=True, eq=False)
class Lane:
    """A GPU and the thread that follows its worker; the thread lives as long as the workers may.

    Args:
        executor: Starts its workers.
        news: Gets what they say.
        key: Of the model that its worker has.
        draft: Of its present job.
    """

    executor: LocalExecutor
    news: "queue.SimpleQueue[Heard]"
    key: tuple[str, ...] | None = None
    draft: RecordBuilder | None = None
    _inbox: "queue.SimpleQueue[RecordBuilder | None]" = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        # Linux ends a child with the thread that started it: one thread starts all of a lane.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def begin(self, job: Job) -> None:
        """Hands it a job."""
        self.draft = RecordBuilder(job=job)
        self._inbox.put(self.draft)

    def _work(self) -> None:
        try:
            while (draft := self._inbox.get()) is not None:
                for message in self.executor.follow(draft.job, draft):
                    if isinstance(message, Done) and message.record.ends_worker:
                        self.executor.stop()
                    self.news.put((self, message))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.news.put((self, error))
        finally:
            self.executor.close()

    def finish(self) -> None:
        """Lets it end after its present job."""
        self._inbox.put(None)

    def ended(self, number: signal.Signals) -> bool:
        """Sends its worker a signal; whether the lane has ended."""
        worker = self.executor.worker
        if worker is not None and worker.process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, number)
        self._thread.join(JOIN_S)
        return not self._thread.is_alive()


@dataclass(kw_only=True)
class MultiGpuExecutor:
    """Runs as many jobs at once as there are devices; see `Executor`.

    Args:
        devices: Values of CUDA_VISIBLE_DEVICES, one for each worker.
        timeout_s: Longest that one run may take.
    """

    devices: Sequence[str]
    timeout_s: float
    _lanes: list[Lane] = field(default_factory=list)
    _ended: list[Record] = field(default_factory=list)

    def run(self, jobs: Iterable[Job], watcher: Watcher) -> Generator[Record, None, None]:
        """One record a job, as they end; see `Executor.run`."""
        packing, news = Packing(jobs), queue.SimpleQueue[Heard]()
        try:
            for device in self.devices:
                executor = LocalExecutor(
                    timeout_s=self.timeout_s, settings={VISIBLE: device}, ahead=True
                )
                self._lanes.append(Lane(executor=executor, news=news))
            for lane in self._lanes:
                self._next(lane, packing, watcher)
            while any(lane.draft for lane in self._lanes):
                self._heed(*_heard(news), packing, watcher)
                while self._ended:
                    yield self._ended.pop(0)
        finally:
            self._stop()

    def interrupted(self) -> list[Record]:
        """What had ended but was not yielded, then one record a job that was cut off."""
        cut = [cut_off(lane.draft) for lane in self._lanes if lane.draft is not None]
        return [*self._ended, *cut]

    def _next(self, lane: Lane, packing: Packing, watcher: Watcher) -> None:
        job = packing.take(lane, self._lanes)
        if job is None:
            lane.draft = None
            lane.finish()
            return
        watcher.started(job)
        lane.begin(job)

    def _heed(
        self, lane: Lane, said: EpochDone | Done | BaseException, packing: Packing, watcher: Watcher
    ) -> None:
        assert lane.draft is not None
        match said:
            case EpochDone(point=point, memory=memory):
                if memory is not None:
                    watcher.memory(memory)
                watcher.epoch(lane.draft.job, point)
            case Done(record=record):
                lane.draft = None
                self._ended.append(record)
                self._next(lane, packing, watcher)
            case BaseException():
                raise said

    def _stop(self) -> None:
        """Ends all workers; none of their processes is left."""
        for lane in self._lanes:
            lane.finish()
        began, left = time.monotonic(), list(self._lanes)
        while left and time.monotonic() - began < GIVE_UP_S:
            gentle = time.monotonic() - began < TERM_GRACE_S
            number = signal.SIGTERM if gentle else signal.SIGKILL
            left = [lane for lane in left if not lane.ended(number)]


def _heard(news: "queue.SimpleQueue[Heard]") -> Heard:
    """Waits for what comes next."""
    while news.empty():
        with signals_allowed():
            time.sleep(POLL_S)
    return news.get_nowait()  # outside: a stop must not cost what was taken already
