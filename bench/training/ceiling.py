"""The ceiling: throughput of training steps on one batch that is already on the device."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch

from bench.job import RecordBuilder
from bench.machine.monitor import PeakMemory
from bench.record import Point, Throughput
from bench.training.cuda_graph import Capture, CapturedStep, capture_for, try_to_capture
from bench.training.loop import Step, cached_step_s
from bench.training.setup import Parts, fresh_step
from pipelines.base import Batch

MEASURE_S = 0.1
MIN_STEPS = 2  # per measurement: a single step may be an outlier
MAX_STEPS = 100
MAX_SHARE = 0.1  # of the run's steps, per measurement on a CPU, where steps are slow
WITHIN_RUN = 2  # measurements during a run, apart from those before and after it
SHORT_RUN = 100  # steps; a shorter run is measured before and after it only


@dataclass(kw_only=True)
class Ceiling:
    """Times steps on one cached batch before, during and after a run, in the run's conditions.

    Args:
        batch: Real images with random labels.
        memory: Peak memory of the run, which excludes the ceiling's.
        capture: How to capture steps; None if they are launched.
        captured: The captured step on the batch, if any.
        steps_s: Seconds of each step so far.
    """

    parts: Parts
    batch: Batch
    memory: PeakMemory
    capture: Capture | None = None
    captured: CapturedStep | None = None
    steps_s: list[float] = field(default_factory=list)

    def try_to_capture(self, draft: RecordBuilder) -> None:
        """Captures a step if the run's steps are captured; records a failure in the draft."""
        self.capture = capture_for(draft, self.parts)
        if self.capture is None:
            return
        with self.memory.excluded():
            step = freeze_as_at_midpoint(fresh_step(self.parts))
            states = [step.freeze_state]
            self.captured = try_to_capture(
                draft, self.parts, step, self.batch, self.capture, states
            )
        if self.captured is None:
            self.capture = None

    @property
    def run_steps(self) -> int:
        """Number of steps of the run."""
        return self.parts.cell.epochs * self.parts.delivery.steps_per_epoch

    def measure(self, step_s: float | None = None, taken_s: Sequence[float] = ()) -> None:
        """Times as many steps as fit into `MEASURE_S`, starting from the initial weights.

        The steps are like the run's, with the freeze state of the middle of the run, as they are
        compared with the median epoch.

        Args:
            step_s: Duration of a step, for the first measurement.
            taken_s: Durations of such steps that were just taken, which count too.
        """
        expected_s = step_s or statistics.median(self.steps_s)
        most = MAX_STEPS if self.parts.device.type == "cuda" else MAX_SHARE * self.run_steps
        fitting = round(min(most, MAX_STEPS, MEASURE_S / expected_s))
        missing = max(MIN_STEPS, fitting) - len(taken_s)
        self.steps_s += taken_s
        if missing > 0:
            with self.memory.excluded():
                self.steps_s += cached_step_s(self._step(), self.parts.device, steps=missing)

    def _step(self) -> Callable[[], object]:
        if self.captured is None:
            return partial(freeze_as_at_midpoint(fresh_step(self.parts)), *self.batch)
        self.captured.restore()
        freeze_as_at_midpoint(self.captured.step)
        return self.captured

    def measure_during(self, training: Step, epoch: int) -> None:
        """Measures after epoch `epoch` (from 0) if one is due; does not affect the run."""
        due = epoch + 1 in epochs_to_measure_after(self.parts.cell.epochs)
        if due and self.run_steps >= SHORT_RUN:
            with restoring(self.parts, training):
                self.measure()


def epochs_to_measure_after(epochs: int) -> set[int]:
    """Evenly spaced epochs, without the start and the end."""
    return {epochs * part // (WITHIN_RUN + 1) for part in range(1, 1 + WITHIN_RUN)} - {0}


@contextmanager
def restoring(parts: Parts, training: Step) -> Iterator[None]:
    """Restores weights, random state and freezing after the `with` block."""
    module = parts.net.module
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    host_rng = torch.get_rng_state()
    device_rng = torch.cuda.get_rng_state(parts.device) if parts.device.type == "cuda" else None
    try:
        yield
    finally:
        module.load_state_dict(weights)
        torch.set_rng_state(host_rng)
        if device_rng is not None:
            torch.cuda.set_rng_state(device_rng, parts.device)
        if training.freezing is not None:
            training.freezing.restore()


def freeze_as_at_midpoint(step: Step) -> Step:
    """Puts the step into the freeze state of the middle of the run, and returns it."""
    if step.freezing is not None:
        step.freezing.go_to_midpoint()
    return step


def throughput(curve: list[Point], batch_size: int, cached_steps_s: list[float]) -> Throughput:
    """Training throughput over the epochs, compared with the ceiling."""
    rates = torch.tensor([point.images_per_s for point in curve], dtype=torch.float64)
    low, median, high = rates.quantile(
        torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    ).tolist()
    ceiling = batch_size / statistics.median(cached_steps_s)
    return Throughput(
        median=median,
        p5=low,
        p95=high,
        ceiling=ceiling,
        stall_pct=100.0 * (1.0 - median / ceiling),
        step_ms=statistics.median(point.step_ms for point in curve),
    )
