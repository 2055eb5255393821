"""A training step as a CUDA graph: captured once, then replayed without Python.

How a run's steps are taken: replayed as CUDA graphs, or launched one operation at a time.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from bench import optimizers
from bench.job import RecordBuilder
from bench.machine.clock import synchronize
from bench.record import CAPTURE_FAILED, GRAPH, LAUNCHED
from bench.training.loop import Step, train_epoch
from bench.training.setup import Parts, begin_anew, fresh_step
from pipelines.base import Batch, Cursor, Pipeline

WARM_STEPS = 3  # before a capture: every kernel is built and every state is there


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Does it again, in the same memory."""
        ...


class Capture(Protocol):
    """A way to capture work; `CudaCapture` is the one that counts."""

    def __call__(self, work: Callable[[], None], draws: Sequence[torch.Generator]) -> Graph:
        """Runs `work` a few times, then captures it.

        Args:
            work: Operations on tensors that stay where they are.
            draws: Generators that it draws from beside the device's default one.
        """
        ...


class CudaCapture:
    """Captures into one memory pool, which graphs that leave nothing in it can share.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None], draws: Sequence[torch.Generator]) -> Graph:
        usual = torch.cuda.current_stream()
        with torch.cuda.stream(usual):  # which a capture that fails does not come back to
            self._stream.wait_stream(usual)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_STEPS):
                    work()
            usual.wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            for generator in draws:
                graph.register_generator_state(generator)
            # Other threads may use the device meanwhile: a loader's pins memory.
            with (
                generators_left_free(draws, self._stream),
                torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ),
            ):
                work()
        return graph


@contextmanager
def generators_left_free(
    draws: Sequence[torch.Generator], stream: torch.cuda.Stream
) -> Iterator[None]:
    """Captures nothing, and well, if the capture in the `with` block fails.

    Up to torch 2.11 one that fails leaves its generators in the belief that it goes on, and they
    draw no more: neither in this run, which goes on without a graph, nor in others of the process.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            nothing = torch.cuda.CUDAGraph()
            for generator in draws:
                nothing.register_generator_state(generator)
            with torch.cuda.graph(nothing, stream=stream):
                torch.zeros(1, device=stream.device)
        raise


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A step whose device work is replayed.

    Args:
        step: What was captured; what it does on the host is still done step by step.
        graphs: By the state of what is frozen (`Step.state`).
        loss_sum: float32 (), to which each replay adds its loss.
        cursor: Where the batches come from, if the graphs make them.
        batch: Otherwise the memory that they are read from.
        restore: Puts weights, optimizer and schedule back to what they were before the first step.
    """

    step: Step
    graphs: Mapping[int, Graph]
    loss_sum: Tensor
    cursor: Cursor | None
    batch: Batch | None
    restore: Callable[[], None]

    def __call__(self) -> None:
        """One step."""
        self.graphs[self.step.state].replay()
        self.step.count()

    def epoch(self, pipeline: Pipeline, index: int) -> Tensor:
        """Trains on epoch `index`; the sum of the losses, a scalar on the device."""
        self.loss_sum.zero_()
        if self.cursor is not None:
            self.cursor.begin(index)
            for _ in range(pipeline.steps_per_epoch):
                self()
        else:
            assert self.batch is not None
            for batch in pipeline.epoch(index):
                for there, values in zip(self.batch, batch, strict=True):
                    there.copy_(values)
                self()
        return self.loss_sum.clone()


def replayed(
    step: Step,
    source: Cursor | Batch,
    capture: Capture,
    restore: Callable[[], None],
    states: Sequence[int],
) -> Replayed:
    """Captures a step that has not been taken yet; it leaves everything as it found it.

    Args:
        step: Of an optimizer whose entry says `capturable`.
        source: What makes the batches, begun at some epoch, or memory that they are copied to.
        capture: How.
        restore: Puts weights and random numbers back to what they were.
        states: Of what is frozen, as `Step.state`, for which to capture it.
    """
    cursor, batch = (None, source) if isinstance(source, tuple) else (source, None)
    device = next(step.model.parameters()).device
    loss_sum = torch.zeros((), device=device)

    def work() -> None:
        images_BCHW, labels = source if isinstance(source, tuple) else source.next()
        loss_sum.add_(step.work(images_BCHW, labels))

    def begin_anew() -> None:
        restore()
        set_back(step)

    step.schedule.to_device(device)
    for group in step.optimizer.param_groups:
        if "capturable" in group and device.type == "cuda":
            group["capturable"] = True
    graphs = {}
    for state in states:
        step.go_to(state)
        graphs[state] = capture(work, () if cursor is None else cursor.generators)
        graphs[state].replay()  # now: the first time brings the graph to the device
    synchronize(device)  # what it cannot do is said here, where it costs no run
    begin_anew()
    return Replayed(
        step=step,
        graphs=graphs,
        loss_sum=loss_sum,
        cursor=cursor,
        batch=batch,
        restore=begin_anew,
    )


def set_back(step: Step) -> None:
    """Puts optimizer, schedule and freezing back to the first step, in the same memory."""
    step.schedule.go_to(0)
    step.go_to(0)
    for state in step.optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


WARMUP_EPOCH = 2**31  # an epoch index that training never reaches: its draws are never reused
LONGEST_REASON = 200  # characters of an error of a library


def capture_for(draft: RecordBuilder, parts: Parts) -> Capture | None:
    """The way to capture the run's steps, None where they are launched; the draft says which."""
    if parts.device.type != "cuda":
        return None
    reason = why_launched(parts)
    draft.stepping = LAUNCHED + reason if reason else GRAPH
    return None if reason else CudaCapture(parts.device)


def why_launched(parts: Parts) -> str:
    """What keeps the steps from being one CUDA graph; "" when nothing."""
    if not parts.cell.compile:
        return "nothing is compiled (--no-compile)"
    if not optimizers.catalog.get(parts.cell.optimizer).capturable:
        return f"{parts.cell.optimizer} counts or decides on the host"
    return ""


def try_to_capture(
    draft: RecordBuilder,
    parts: Parts,
    step: Step,
    source: Cursor | Batch,
    capture: Capture,
    states: Sequence[int],
) -> Replayed | None:
    """Captures a fresh step; None when it fails, which makes the run's times suspect.

    A step for which it failed is of no use any more.

    Args:
        draft: Of the run.
        parts: Likewise.
        step: Not taken yet.
        source: As for `bench.training.cuda_graph.replayed`.
        capture: Likewise.
        states: Likewise.
    """
    try:
        with draft.timed("capture_s"):
            return replayed(step, source, capture, partial(begin_anew, parts), states)
    except Exception as error:  # noqa: BLE001 - the run goes on without, and says so
        traceback.print_exc()
        said = next(iter(str(error).splitlines()), type(error).__name__)
        reason = f"{CAPTURE_FAILED} ({said:.{LONGEST_REASON}})"
        draft.stepping = LAUNCHED + reason
        draft.timing_suspect.append(f"each step was launched by Python, as {reason}")
        return None


@dataclass(frozen=True, kw_only=True)
class Training:
    """A fresh step, and what replays it if anything does."""

    step: Step
    replay: Replayed | None = None

    def epoch(self, parts: Parts, index: int) -> Tensor:
        """Trains on an epoch; the sum of the losses, a scalar on the device."""
        if self.replay is not None:
            return self.replay.epoch(parts.pipeline, index)
        return train_epoch(self.step, parts.pipeline.epoch(index), parts.device)


def begin(draft: RecordBuilder, parts: Parts, capture: Capture | None, batch: Batch) -> Training:
    """A step from the initial weights on, captured if it can be.

    Where the pipeline makes its batches on the device alone, the graphs hold that too.

    Args:
        draft: Of the run.
        parts: Likewise.
        capture: How to capture steps, None if they are launched.
        batch: One like all others.
    """
    step = fresh_step(parts)
    if capture is None:
        return Training(step=step)
    cursor = parts.pipeline.cursor()
    if cursor is not None:
        cursor.begin(WARMUP_EPOCH)
    source = cursor or (batch[0].clone(), batch[1].clone())
    replay = try_to_capture(draft, parts, step, source, capture, step.states)
    return Training(step=step if replay else fresh_step(parts), replay=replay)
