"""What a model could do if data cost nothing: steps on one batch that is on the device already."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch

from bench.job import RecordBuilder
from bench.record import Point, Throughput
from bench.training.cuda_graph import Capture, Replayed, capture_for, try_to_capture
from bench.training.loop import Step, cached_step_s
from bench.training.setup import Parts, fresh_step
from pipelines.base import Batch

LOOK_S = 0.1
FEWEST_STEPS = 2  # of a look: a single step may be an odd one
LOOKS_WITHIN = 2  # a run, beside one before it and one after it


@dataclass(kw_only=True)
class Ceiling:
    """Steps on one cached batch before, within and after a run, so that both see one machine.

    Args:
        parts: Of the run.
        batch: Of real images with random labels.
        capture: How to capture steps, None if they are launched.
        replay: Steps on the batch, captured, if they are.
        steps_s: Seconds of all steps so far.
    """

    parts: Parts
    batch: Batch
    capture: Capture | None = None
    replay: Replayed | None = None
    steps_s: list[float] = field(default_factory=list)

    def try_to_replay(self, draft: RecordBuilder) -> None:
        """Captures steps where the run's own are to be; the draft says if that failed."""
        self.capture = capture_for(draft, self.parts)
        if self.capture is not None:
            step = halfway(fresh_step(self.parts))
            states = [step.state]
            self.replay = try_to_capture(draft, self.parts, step, self.batch, self.capture, states)
            if self.replay is None:
                self.capture = None

    def look(self, step_s: float | None = None) -> None:
        """As many steps as fit in `LOOK_S`, from the initial weights on.

        They are taken the way the run takes its own. What is trained is what the middle of a run
        trains, as is the median epoch that they are compared with.

        Args:
            step_s: What a step takes, if none was taken yet.
        """
        once: Callable[[], object]
        if self.replay is None:
            once = partial(halfway(fresh_step(self.parts)), *self.batch)
        else:
            self.replay.restore()
            halfway(self.replay.step)
            once = self.replay
        usual_s = step_s or statistics.median(self.steps_s)
        steps = min(100, max(FEWEST_STEPS, round(LOOK_S / usual_s)))
        self.steps_s += cached_step_s(once, self.parts.device, steps=steps)

    def look_within(self, training: Step, epoch: int) -> None:
        """A look after epoch `epoch` (from 0 on) if it is time for one; the run goes on as before.

        Args:
            training: The run's own step.
            epoch: That is done.
        """
        if epoch + 1 in times_within(self.parts.cell.epochs):
            with undisturbed(self.parts, training):
                self.look()


def times_within(epochs: int) -> set[int]:
    """After how many epochs to look: evenly, and neither before nor after the run."""
    return {epochs * part // (LOOKS_WITHIN + 1) for part in range(1, 1 + LOOKS_WITHIN)} - {0}


@contextmanager
def undisturbed(parts: Parts, training: Step) -> Iterator[None]:
    """Whatever the `with` block trains, weights, random numbers and freezing are as before it."""
    module = parts.net.module
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    on_host = torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(parts.device) if parts.device.type == "cuda" else None
    try:
        yield
    finally:
        module.load_state_dict(weights)
        torch.set_rng_state(on_host)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, parts.device)
        if training.freezing is not None:
            training.freezing.renew()


def halfway(step: Step) -> Step:
    """The step with as much frozen as in the middle of the run."""
    if step.freezing is not None:
        step.freezing.go_halfway()
    return step


def throughput(curve: list[Point], batch_size: int, cached_steps_s: list[float]) -> Throughput:
    """Training images/s over epochs, against the ceiling of one cached batch."""
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
