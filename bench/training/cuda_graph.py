"""Training steps as CUDA graphs: captured once, then replayed without Python.

A run's steps are replayed if the net is compiled and the optimizer can be captured; otherwise they
are launched one operation at a time.
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
from bench.training.delivery import WARMUP_EPOCH, Delivery
from bench.training.loop import Step, train_epoch
from bench.training.setup import Parts, fresh_step, reset_net
from pipelines.base import Batch, Cursor, Pipeline

WARM_STEPS = 3  # before a capture, to build all kernels and create all optimizer state
MAX_REASON_LENGTH = 200


class Graph(Protocol):
    """Captured work."""

    def replay(self) -> None:
        """Repeats the work in the same memory."""
        ...


# Runs work (operations on tensors with fixed addresses) a few times, then captures it; the
# generators are those that it uses besides the device's default one.
Capture = Callable[[Callable[[], None], Sequence[torch.Generator]], Graph]


class CudaCapture:
    """Captures into one memory pool, shared by all graphs, as none keeps results in it.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None], generators: Sequence[torch.Generator]) -> Graph:
        current = torch.cuda.current_stream()
        with torch.cuda.stream(current):  # restored after a failed capture
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_STEPS):
                    work()
            current.wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            for generator in generators:
                graph.register_generator_state(generator)
            # "thread_local", as a data loader's thread may pin memory at the same time
            with (
                generators_released(generators, self._stream),
                torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ),
            ):
                work()
        return graph


@contextmanager
def generators_released(
    generators: Sequence[torch.Generator], stream: torch.cuda.Stream
) -> Iterator[None]:
    """After a failed capture, performs an empty one to release the generators.

    Up to torch 2.11 they otherwise stay in capture mode and are unusable for all later runs of the
    process.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            empty = torch.cuda.CUDAGraph()
            for generator in generators:
                empty.register_generator_state(generator)
            with torch.cuda.graph(empty, stream=stream):
                torch.zeros(1, device=stream.device)
        raise


@dataclass(frozen=True, kw_only=True)
class CapturedStep:
    """A step whose device work is replayed.

    Args:
        graphs: Graphs by freeze state (`Step.freeze_state`).
        loss_sum: float32 (); each replay adds its loss.
        cursor: Makes the batches if the graphs include that.
        batch: Otherwise the memory that batches are copied to.
        restore: Resets weights, optimizer and schedule to the start of the run.
    """

    step: Step
    graphs: Mapping[int, Graph]
    loss_sum: Tensor
    cursor: Cursor | None
    batch: Batch | None
    restore: Callable[[], None]

    def __call__(self) -> None:
        """Takes one step."""
        self.graphs[self.step.freeze_state].replay()
        self.step.host_work()

    def epoch(self, source: Pipeline | Delivery, index: int) -> Tensor:
        """Trains on epoch `index`; returns the sum of the losses, a scalar on the device."""
        self.loss_sum.zero_()
        if self.cursor is not None:
            self.cursor.begin(index)
            for _ in range(source.steps_per_epoch):
                self()
            self.cursor.prepare(index + 1)  # while the device works through the queue
        else:
            for batch in source.epoch(index):
                self.take(batch)
        return self.loss_sum.clone()

    def take(self, batch: Batch) -> None:
        """Takes a step on a batch, which is copied to the graphs' memory."""
        assert self.batch is not None
        for memory, values in zip(self.batch, batch, strict=True):
            memory.copy_(values)
        self()


def capture_step(
    step: Step,
    source: Cursor | Batch,
    capture: Capture,
    restore: Callable[[], None],
    freeze_states: Sequence[int],
) -> CapturedStep:
    """Captures a step that has not been taken yet, and restores the state afterwards.

    Args:
        step: A step of an optimizer whose entry is `capturable`.
        source: The cursor that makes the batches, or the memory that they are copied to.
        restore: Resets weights and random state.
        freeze_states: Each of them gets a graph.
    """
    cursor, batch = (None, source) if isinstance(source, tuple) else (source, None)
    device = next(step.model.parameters()).device
    loss_sum = torch.zeros((), device=device)

    def work() -> None:
        images_BCHW, labels = source if isinstance(source, tuple) else source.next()
        loss_sum.add_(step.device_work(images_BCHW, labels))

    def restore_all() -> None:
        """Resets to the first step, in the same memory."""
        restore()
        step.schedule.go_to(0)
        step.go_to_freeze_state(0)
        for state in step.optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()

    step.schedule.to_device(device)
    for group in step.optimizer.param_groups:
        if "capturable" in group and device.type == "cuda":
            group["capturable"] = True
    graphs = {}
    for state in freeze_states:
        step.go_to_freeze_state(state)
        graphs[state] = capture(work, () if cursor is None else cursor.generators)
        graphs[state].replay()  # uploads the graph to the device
    synchronize(device)  # raises errors now, before the run
    restore_all()
    return CapturedStep(
        step=step, graphs=graphs, loss_sum=loss_sum, cursor=cursor, batch=batch, restore=restore_all
    )


def capture_for(draft: RecordBuilder, parts: Parts) -> Capture | None:
    """How to capture the run's steps; None if they are launched. The draft says which, and why."""
    if parts.device.type != "cuda":
        return None
    if not parts.cell.compile:
        draft.stepping = f"{LAUNCHED}nothing is compiled (--no-compile)"
        return None
    if not optimizers.catalog.get(parts.cell.optimizer).capturable:
        draft.stepping = f"{LAUNCHED}{parts.cell.optimizer} counts or decides on the host"
        return None
    draft.stepping = GRAPH
    return CudaCapture(parts.device)


def try_to_capture(
    draft: RecordBuilder,
    parts: Parts,
    step: Step,
    source: Cursor | Batch,
    capture: Capture,
    freeze_states: Sequence[int],
) -> CapturedStep | None:
    """`capture_step`; None if it fails, which makes the run's times suspect.

    After a failure, `step` must not be used any more.
    """
    try:
        with draft.timed("capture_s"):
            return capture_step(step, source, capture, partial(reset_net, parts), freeze_states)
    except Exception as error:  # noqa: BLE001 - the run continues without
        traceback.print_exc()
        message = next(iter(str(error).splitlines()), type(error).__name__)
        reason = f"{CAPTURE_FAILED} ({message:.{MAX_REASON_LENGTH}})"
        draft.stepping = LAUNCHED + reason
        draft.timing_suspect.append(f"each step was launched by Python, as {reason}")
        return None


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A fresh step, and its captured form if any."""

    step: Step
    captured: CapturedStep | None = None

    def take(self, batch: Batch) -> None:
        """Takes a step on a batch; not if captured graphs make the batches."""
        if self.captured is None:
            self.step(*batch)
        else:
            self.captured.take(batch)

    def epoch(self, parts: Parts, index: int) -> Tensor:
        """Trains on an epoch; returns the sum of the losses, a scalar on the device."""
        if self.captured is not None:
            return self.captured.epoch(parts.delivery, index)
        return train_epoch(self.step, parts.delivery.epoch(index), parts.device)


def build_trainer(
    draft: RecordBuilder, parts: Parts, capture: Capture | None, batch: Batch
) -> Trainer:
    """A step with the initial weights, captured if possible.

    If the pipeline makes its batches entirely on the device, the graphs include that.

    Args:
        capture: How to capture steps; None to launch them.
        batch: A batch of the shapes that all batches have.
    """
    step = fresh_step(parts)
    if capture is None:
        return Trainer(step=step)
    cursor = parts.pipeline.cursor()
    if cursor is not None:
        parts.delivery.check_cursor(cursor)
        cursor.begin(WARMUP_EPOCH)
    source = cursor or (batch[0].clone(), batch[1].clone())
    captured = try_to_capture(draft, parts, step, source, capture, step.freeze_states)
    return Trainer(step=step if captured else fresh_step(parts), captured=captured)
