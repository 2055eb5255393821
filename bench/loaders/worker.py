"""The worker process of `bench loaders`: one pipeline, measured whenever the parent asks.

Between requests it waits for a line on standard input and uses no CPU.
"""

import math
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bench.errors import innermost, shortened
from bench.executors.protocol import Ready, become_worker, send
from bench.executors.worker import status_of
from bench.machine.cpu import run_in_progress
from bench.record import Conditions, Memory, Status
from bench.store.loaders_record import Repeat

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from bench.training.cuda_graph import Capture
    from pipelines.base import Batch, Pipeline
    from pipelines.sources.base import Images

MIN_BATCHES = 2


class Describe(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Request: describe the machine and measure its memory bandwidth."""

    device: str


class Build(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Request: build a pipeline and take its first batch."""

    pipeline: str
    source: str
    data_dir: str
    augmentation: str
    batch_size: int
    device: str
    precision: str
    plugins: dict[str, str] = {}
    replay: bool = False


class Measure(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Request: take batches for at least `seconds`.

    If `cold`, image files are dropped from the page cache first, and at most one epoch is taken.
    """

    seconds: float
    cold: bool = False


class Described(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The machine; bandwidth in 10^9 bytes read and written per second."""

    environment: dict[str, Any]
    bandwidth_gb_per_s: float


class Built(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The pipeline is built and has returned its first batch."""

    build_s: float
    first_batch_s: float
    bytes_per_image: int
    draws: dict[str, str]
    memory: Memory
    processes_gib: float | None = None
    differs: dict[str, str] = {}


class Measured(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """One repeat, the peak memory so far, and what may have disturbed the repeat."""

    repeat: Repeat
    memory: Memory
    conditions: Conditions
    recompiled: int  # graphs that torch.compile built during the repeat
    processes_gib: float | None = None


class Failed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The request failed; the worker exits."""

    status: Status
    reason: str


Request = Describe | Build | Measure
Reply = Ready | Described | Built | Measured | Failed

_request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_reply_decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def read_reply(line: bytes) -> Reply:
    """Decodes a worker's line."""
    return _reply_decoder.decode(line)


def main() -> None:
    """Answers requests until standard input ends or a request fails."""
    replies = become_worker()
    start = time.perf_counter()
    import pipelines.building  # noqa: F401 - imported here, so that no request pays for it

    bench = LoaderBench()
    send(replies, Ready(import_s=time.perf_counter() - start))
    for line in sys.stdin.buffer:
        with run_in_progress():
            reply = answer(bench, _request_decoder.decode(line))
        send(replies, reply)
        if isinstance(reply, Failed):
            return


def answer(bench: "LoaderBench", request: Request) -> Reply:
    """Carries out one request; an exception becomes the reply `Failed`."""
    try:
        match request:
            case Describe():
                return describe(request.device)
            case Build():
                return bench.build(request)
            case Measure():
                return bench.measure(request)
    except Exception as error:  # noqa: BLE001 - any failure becomes a row of the table
        traceback.print_exc()
        status = status_of(error)
        kind, message = innermost(error)
        message = shortened(message.splitlines()[0])
        reason = message if status == "skipped" else f"{kind}: {message}"
        return Failed(status=status, reason=reason)


class LoaderBench:
    """The pipeline of this process, with its counters."""

    def __init__(self, capture: "Callable[[torch.device], Capture] | None" = None) -> None:
        self._epochs = count()
        self._capture = capture
        self._device_gib = 0.0
        self._plugins = ExitStack()  # open until the process ends

    def build(self, request: Build) -> Built:
        """Builds the pipeline and takes its first batch."""
        import torch

        import pipelines
        from bench.loaders import usage
        from bench.machine import monitor
        from bench.machine.clock import synchronize
        from bench.training.delivery import Delivery
        from pipelines.building import parse, reads

        if request.plugins:
            from bench.grid.plugins import registered

            self._plugins.enter_context(registered(request.plugins))
        self._device = device = torch.device(request.device)
        images = pipelines.load(request.source, request.data_dir).train
        variant = parse(request.pipeline)  # imports its library
        dtype = torch.bfloat16 if request.precision == "bf16" else torch.float32
        torch.zeros(1, device=device)  # the device's context is not counted as the pipeline's
        self._files = images.files if reads(request.pipeline, images) == "files" else ()
        monitor.reset_peaks(device)
        self._before = self._at_request = monitor.peaks(device)
        self._processes_before_gib = usage.peak_gib()
        start = time.perf_counter()
        self._pipeline = pipelines.build(
            request.pipeline,
            images,
            request.augmentation,
            batch_size=request.batch_size,
            device=device,
            dtype=dtype,
        )
        synchronize(device)
        built_s = time.perf_counter()
        # Loader workers finish their batches at about the same time; a repeat that ended within
        # such a round would not count all work. An epoch may have fewer batches than workers.
        workers = variant.options.get("workers", 1)
        self._round = max(1, min(workers, self._pipeline.steps_per_epoch))
        delivery = Delivery(
            self._pipeline,
            request.pipeline,
            images,
            batch_size=request.batch_size,
            device=device,
            dtype=dtype,
        )
        self._source: Epochs = delivery
        if request.replay:
            from bench.training.cuda_graph import CudaCapture

            capture = self._capture or CudaCapture
            self._source = ReplayedEpochs(self._pipeline, capture(device))
        with closing(endless(self._source, self._epochs)) as batches:
            x_BCHW, _ = next(batches)
            synchronize(device)
            first_batch_s = time.perf_counter() - built_s
            processes_gib = self._grown_gib()
        delivery.first_batch()  # checks its values
        return Built(
            build_s=built_s - start,
            first_batch_s=first_batch_s,
            bytes_per_image=source_bytes(images, self._files) + x_BCHW[0].nbytes,
            draws=dict(self._pipeline.semantics.draws),
            differs=dict(self._pipeline.semantics.differs),
            memory=self._memory(),
            processes_gib=processes_gib,
        )

    def measure(self, request: Measure) -> Measured:
        """Takes batches for at least `seconds`, from the start of an epoch.

        CPU time is counted from the end of the first round of batches, when as much is read ahead
        as at the end.
        """
        from bench.loaders import page_cache, usage
        from bench.machine import monitor
        from bench.machine.clock import CompileWatch, TrainingClock

        if request.cold:
            page_cache.drop(self._files)
        state = page_cache.state(self._files) if self._files else ""
        self._at_request = monitor.peaks(self._device)
        clock, graphs = TrainingClock(self._device), CompileWatch()
        machine = monitor.MachineMonitor(self._device)
        most = self._pipeline.steps_per_epoch if request.cold else math.inf
        images = batches = early = 0
        early_cpu_s = usage.cpu_s()
        with closing(endless(self._source, self._epochs)) as stream:
            with machine.running(clock):
                start = time.perf_counter()
                for _, labels in stream:
                    images += len(labels)
                    batches += 1
                    complete = batches >= MIN_BATCHES and batches % self._round == 0
                    over = complete and time.perf_counter() - start >= request.seconds
                    if over or batches >= most:
                        break
                    if batches == self._round:
                        early, early_cpu_s = images, usage.cpu_s()
            cpu_s = usage.cpu_s() - early_cpu_s
            processes_gib = self._grown_gib()
        elapsed_s = clock.wall_s
        repeat = Repeat(
            images=images,
            batch_s=elapsed_s / batches,
            images_per_s=images / elapsed_s,
            cpu_s_per_1000=1000 * cpu_s / (images - early),
            page_cache=state,
        )
        return Measured(
            repeat=repeat,
            memory=self._memory(),
            conditions=machine.conditions(elapsed_s),
            recompiled=graphs.new_graphs(),
            processes_gib=processes_gib,
        )

    def _grown_gib(self) -> float | None:
        """Peak memory of all processes above that before the pipeline was built."""
        from bench.loaders import usage

        return _difference(usage.peak_gib(), self._processes_before_gib)

    def _memory(self) -> Memory:
        """Peaks above the memory in use before the pipeline was built.

        The device's memory includes other processes; its growth during a request belongs to this
        one, since the other workers are idle then.
        """
        from bench.machine import monitor

        now, before = monitor.peaks(self._device), self._before
        grown_gib = _difference(now.device_gib, self._at_request.device_gib)
        if grown_gib is not None:
            self._device_gib += grown_gib
        return Memory(
            host_gib=_difference(now.host_gib, before.host_gib),
            torch_gib=_difference(now.torch_gib, before.torch_gib),
            device_gib=None if grown_gib is None else self._device_gib,
        )


def source_bytes(images: "Images", files: "Sequence[Path]") -> int:
    """Bytes read per image; for files, the mean of the first thousand."""
    if not files:
        return images.images[0].nbytes
    return round(statistics.fmean(path.stat().st_size for path in files[:1000]))


def _difference(now_gib: float | None, before_gib: float | None) -> float | None:
    return None if now_gib is None or before_gib is None else now_gib - before_gib


class Epochs(Protocol):
    """A source of batches, epoch by epoch."""

    def epoch(self, index: int) -> "Iterator[Batch]":
        """Batches of epoch `index`."""
        ...


class ReplayedEpochs:
    """The epochs of a pipeline with a cursor; each batch is made by replaying a captured one."""

    def __init__(self, pipeline: "Pipeline", capture: "Capture") -> None:
        cursor = pipeline.cursor()
        assert cursor is not None, f"{type(pipeline).__name__} declares replays but has no cursor"
        self._cursor = cursor
        self._steps = pipeline.steps_per_epoch
        cursor.begin(0)
        self._graph = capture(self._make, cursor.generators)

    def _make(self) -> None:
        self._batch = self._cursor.next()

    def epoch(self, index: int) -> "Generator[Batch, None, None]":
        """Batches in the same memory: each is valid until the next one."""
        self._cursor.begin(index)
        for _ in range(self._steps):
            self._graph.replay()
            yield self._batch
        self._cursor.prepare(index + 1)


def endless(source: Epochs, epochs: Iterator[int]) -> "Generator[Batch, None, None]":
    """Batches of one epoch after another; closing it closes the current epoch."""
    for index in epochs:
        yield from source.epoch(index)


def describe(device: str) -> Described:
    """This machine, with the memory bandwidth of the device."""
    import torch

    from bench.machine import environment
    from bench.machine.roofline import bandwidth

    return Described(
        environment=environment.describe(device),
        bandwidth_gb_per_s=bandwidth(torch.device(device)) / 1e9,
    )


if __name__ == "__main__":
    main()
