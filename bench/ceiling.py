"""What a model could do if data cost nothing: steps on one batch that is on the device already."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from bench.draft import Draft
from bench.loop import Step, cached_step_s
from bench.prepare import Parts, fresh_step
from bench.record import Point, Throughput
from bench.replay import Capture, Replayed
from bench.stepping import capture_for, try_to_capture
from pipelines.base import Batch

CEILING_S = 0.4


@dataclass(frozen=True, kw_only=True)
class Warm:
    """What the warm-up leaves.

    Args:
        batch: Of real images with random labels.
        steps_s: Seconds of steps on it.
        capture: How to capture steps, None if they are launched.
        replay: Steps on the batch, captured, if they are.
    """

    batch: Batch
    steps_s: list[float]
    capture: Capture | None = None
    replay: Replayed | None = None


def with_replay(draft: Draft, parts: Parts, warm: Warm) -> Warm:
    """With steps on the cached batch captured, where steps are."""
    capture = capture_for(draft, parts)
    if capture is None:
        return warm
    step = halfway(fresh_step(parts))
    replay = try_to_capture(draft, parts, step, warm.batch, capture, [step.state])
    return warm if replay is None else replace(warm, capture=capture, replay=replay)


def ceiling_steps(parts: Parts, warm: Warm) -> list[float]:
    """Seconds of as many steps on one cached batch as fit in `CEILING_S`, three at least.

    They are taken from the initial weights on, the way the run takes its own. What is trained is
    what the middle of a run trains, as is the median epoch that they are compared with.
    """
    once: Callable[[], object]
    if warm.replay is None:
        once = partial(halfway(fresh_step(parts)), *warm.batch)
    else:
        warm.replay.restore()
        halfway(warm.replay.step)
        once = warm.replay
    steps = min(200, max(3, round(CEILING_S / statistics.median(warm.steps_s))))
    return cached_step_s(once, parts.device, steps=steps)


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
