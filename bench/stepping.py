"""How a run's steps are taken: replayed as CUDA graphs, or launched one operation at a time."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from bench import optimizers
from bench.draft import Draft
from bench.loop import Step, train_epoch
from bench.prepare import Parts, begin_anew, fresh_step
from bench.record import CAPTURE_FAILED, GRAPH, LAUNCHED
from bench.replay import Capture, CudaCapture, Replayed, replayed
from pipelines.base import Batch, Cursor

WARMUP_EPOCH = 2**31  # an epoch index that training never reaches: its draws are never reused
LONGEST_REASON = 200  # characters of an error of a library


def capture_for(draft: Draft, parts: Parts) -> Capture | None:
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
    draft: Draft,
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
        source: As for `bench.replay.replayed`.
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


def begin(draft: Draft, parts: Parts, capture: Capture | None, batch: Batch) -> Training:
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
