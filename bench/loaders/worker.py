"""The child process of `bench loaders`: one pipeline, measured whenever the parent says so.

Between orders it waits for a line on standard input and uses no core.
"""

import faulthandler
import os
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from itertools import count
from typing import TYPE_CHECKING

from bench.executors.protocol import Ready, send
from bench.executors.worker import status_of
from bench.loaders.protocol import (
    Build,
    Built,
    Describe,
    Described,
    Failed,
    Measure,
    Measured,
    Order,
    Reply,
    read_order,
)
from bench.machine.cpu import run_in_progress
from bench.process import die_with_parent
from bench.record import Memory, Reads
from bench.store.loaders_record import Repeat

if TYPE_CHECKING:
    import torch

    from pipelines.base import Batch, Pipeline
    from pipelines.sources.base import Images

LEAST_BATCHES = 2
COPIED_MIB = {"cuda": 1024, "cpu": 512}  # well above any cache
COPIES = 9


def main() -> None:
    """Carries out orders until standard input ends or one of them fails."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    faulthandler.enable()
    start = time.perf_counter()
    import pipelines.building  # noqa: F401 - paid here, so that no order pays for it

    bench = LoaderBench()
    send(replies, Ready(import_s=time.perf_counter() - start))
    for line in sys.stdin.buffer:
        with run_in_progress():
            reply = answer(bench, read_order(line))
        send(replies, reply)
        if isinstance(reply, Failed):
            return


def answer(bench: "LoaderBench", order: Order) -> Reply:
    """Carries out one order; what it raises becomes the reply."""
    try:
        match order:
            case Describe():
                return describe(order.device)
            case Build():
                return bench.build(order)
            case Measure():
                return bench.measure(order.seconds)
    except Exception as error:  # noqa: BLE001 - every fault of a pipeline is a row of the table
        traceback.print_exc()
        status = status_of(error)
        said = str(error).strip().splitlines()[:1] or [type(error).__name__]
        reason = said[0] if status == "skipped" else f"{type(error).__name__}: {said[0]}"
        return Failed(status=status, reason=reason)


class LoaderBench:
    """The pipeline of this process and the counters that go with it."""

    def __init__(self) -> None:
        self._epochs = count()
        self._device_gib = 0.0
        self._plugins = ExitStack()  # of the one pipeline, as long as the process

    def build(self, order: Build) -> Built:
        """Builds the pipeline and takes its first batch."""
        import torch

        import pipelines
        from bench.machine import monitor
        from bench.machine.clock import synchronize
        from pipelines.building import parse, reads

        if order.plugins:
            from bench.grid.plugins import joined

            self._plugins.enter_context(joined(order.plugins))
        self._device = device = torch.device(order.device)
        images = pipelines.load(order.source, order.data_dir).train
        variant = parse(order.pipeline)  # imports its library
        torch.zeros(1, device=device)  # makes the device's context, which is no pipeline's
        monitor.reset_peaks(device)
        self._before = self._turn = monitor.peaks(device)
        start = time.perf_counter()
        self._pipeline = pipelines.build(
            order.pipeline,
            images,
            order.augmentation,
            batch_size=order.batch_size,
            device=device,
            dtype=torch.bfloat16 if order.precision == "bf16" else torch.float32,
        )
        synchronize(device)
        built_s = time.perf_counter()
        # Workers finish at the same time: who stops between two of them leaves work uncounted. Of
        # an epoch's batches no more are made at once than there are.
        workers = variant.options.get("workers", 1)
        self._round = max(1, min(workers, self._pipeline.steps_per_epoch))
        with closing(endless(self._pipeline, self._epochs)) as batches:
            x_BCHW, _ = next(batches)
            synchronize(device)
            first_batch_s = time.perf_counter() - built_s
        return Built(
            build_s=built_s - start,
            first_batch_s=first_batch_s,
            bytes_per_image=source_bytes(images, reads(order.pipeline, images)) + x_BCHW[0].nbytes,
            draws=dict(self._pipeline.semantics.draws),
            memory=self._memory(),
        )

    def measure(self, seconds: float) -> Measured:
        """Takes whole batches for at least `seconds`, from the start of an epoch on."""
        from bench.machine import monitor
        from bench.machine.clock import synchronize

        self._turn = monitor.peaks(self._device)
        images = batches = 0
        with closing(endless(self._pipeline, self._epochs)) as stream:
            synchronize(self._device)
            start = time.perf_counter()
            for _, labels in stream:
                images += len(labels)
                batches += 1
                whole = batches >= LEAST_BATCHES and batches % self._round == 0
                if whole and time.perf_counter() - start >= seconds:
                    break
            synchronize(self._device)
            passed_s = time.perf_counter() - start
        repeat = Repeat(images=images, batch_s=passed_s / batches, images_per_s=images / passed_s)
        return Measured(repeat=repeat, memory=self._memory())

    def _memory(self) -> Memory:
        """Peaks above what was held before the pipeline was built.

        The device's own figure is everybody's. What it grows by from the beginning of an order to
        its end is ours, since the others rest meanwhile.
        """
        from bench.machine import monitor

        now, before = monitor.peaks(self._device), self._before
        grown_gib = above(now.device_gib, self._turn.device_gib)
        if grown_gib is not None:
            self._device_gib += grown_gib
        return Memory(
            host_gib=above(now.host_gib, before.host_gib),
            torch_gib=above(now.torch_gib, before.torch_gib),
            device_gib=None if grown_gib is None else self._device_gib,
        )


def source_bytes(images: "Images", reads: Reads) -> int:
    """Bytes of one image where it is read; of files, the mean of the first thousand."""
    if reads == "array":
        return images.images[0].nbytes
    return round(statistics.fmean(path.stat().st_size for path in images.files[:1000]))


def above(now_gib: float | None, before_gib: float | None) -> float | None:
    """The difference, where both are known."""
    return None if now_gib is None or before_gib is None else now_gib - before_gib


def endless(pipeline: "Pipeline", epochs: Iterator[int]) -> "Generator[Batch, None, None]":
    """Batches of one epoch after the other; closing it closes the present one."""
    for index in epochs:
        yield from pipeline.epoch(index)


def describe(device: str) -> Described:
    """This machine, and how fast its device copies memory."""
    import torch

    from bench.machine import environment

    return Described(
        environment=environment.describe(device),
        bandwidth_gb_per_s=bandwidth_gb_per_s(torch.device(device), COPIED_MIB[device]),
    )


def bandwidth_gb_per_s(device: "torch.device", size_mib: int) -> float:
    """Bytes read and written a second by a large copy, in 10^9, the median of several."""
    import torch

    from bench.machine.clock import synchronize

    source = torch.ones(size_mib * 2**20, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    times_s = []
    for _ in range(COPIES + 1):
        synchronize(device)
        start = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        times_s.append(time.perf_counter() - start)
    return 2 * source.nbytes / statistics.median(times_s[1:]) / 1e9


if __name__ == "__main__":
    main()
