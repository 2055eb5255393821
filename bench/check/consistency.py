"""Consistency checks of the values in a record."""

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from bench.record import (
    FAILED,
    LARGEST_STALL_PCT,
    Metrics,
    Record,
    accuracy,
    class_scores,
    macro_average,
    time_to_accuracy_s,
)

SCORE_TOLERANCE = 1e-5  # relative; rounding error of a 32-bit score
TIME_TOLERANCE = 1e-6  # relative


def problems(record: Record) -> Iterator[str]:
    """Short descriptions of inconsistencies; empty for a consistent record."""
    run = record.run
    if run.id != record.run_id:
        yield f"its cell, seed, versions and images are those of run {run.id}"
    yield from _outcome(record)
    yield from _curve(record)
    yield from _times(record)
    yield from _throughput(record)
    if record.metrics is not None:
        yield from _scores(record.metrics)
        yield from _time_to_accuracy(record, record.metrics)
        images, asked = sum(map(sum, record.metrics.confusion)), record.cell.test_images
        if asked is not None and images > asked:
            yield f"it was scored on {images} images of {asked}"


def _outcome(record: Record) -> Iterator[str]:
    if record.status == "ok":
        if record.metrics is None:
            yield "it ended ok without scores"
        if record.throughput is None:
            yield "it ended ok without throughput"
        if record.error is not None:
            yield "it ended ok with an error"
        if len(record.curve) != record.cell.epochs:
            yield f"it ended ok after {len(record.curve)} of {record.cell.epochs} epochs"
    elif record.status in (*FAILED, "skipped") and record.error is None:
        yield f"it ended {record.status} without a reason"
    for name in ("started", "finished"):
        if not _is_time(getattr(record, name)):
            yield f"{name} is not a time with its zone: {getattr(record, name)!r:.40}"


def _is_time(text: str) -> bool:
    try:
        return not text or datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _curve(record: Record) -> Iterator[str]:
    epochs = [point.epoch for point in record.curve]
    if epochs != list(range(1, len(epochs) + 1)):
        yield "the epochs of its curve do not count up from 1"
    if len(epochs) > record.cell.epochs:
        yield f"its curve has {len(epochs)} epochs, its cell {record.cell.epochs}"
    if any(after <= before for before, after in pairwise(point.images for point in record.curve)):
        yield "the images of its curve do not increase"
    if any(after < before for before, after in pairwise(point.train_s for point in record.curve)):
        yield "the training clock of its curve goes back"


def _times(record: Record) -> Iterator[str]:
    timings = record.timings
    if timings.train_s > timings.total_s * (1 + TIME_TOLERANCE):
        yield f"training took {timings.train_s:.6g} s, the whole run {timings.total_s:.6g} s"
    if timings.fit_s > timings.train_s * (1 + TIME_TOLERANCE):
        yield f"fitting on data took {timings.fit_s:.6g} s of {timings.train_s:.6g} s of training"
    if record.status == "ok" and record.curve:
        last_s = record.curve[-1].train_s
        if not _close(last_s, timings.train_s):
            yield f"its curve ends at {last_s:.6g} s, its training clock at {timings.train_s:.6g} s"


def _throughput(record: Record) -> Iterator[str]:
    speed = record.throughput
    if speed is None:
        return
    if not speed.p5 <= speed.median <= speed.p95:
        yield (
            f"its median of {speed.median:.6g} images/s lies outside its percentiles "
            f"{speed.p5:.6g} and {speed.p95:.6g}"
        )
    if (speed.ceiling is None) != (speed.stall_pct is None):
        yield "it has only one of ceiling and stall"
    elif speed.ceiling is not None and speed.stall_pct is not None:
        stall_pct = 100 * (1 - speed.median / speed.ceiling)
        if abs(stall_pct) < LARGEST_STALL_PCT and not _close(stall_pct, speed.stall_pct):
            yield f"its stall is {speed.stall_pct:.6g} %, by its throughput {stall_pct:.6g} %"


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TIME_TOLERANCE, abs_tol=TIME_TOLERANCE)


def _scores(metrics: Metrics) -> Iterator[str]:
    """Checks that all scores follow from the confusion matrix."""
    classes = class_scores(metrics.confusion)
    for found, stored in zip(classes, metrics.per_class, strict=True):
        name = f"class {stored.name[:40]!r}"
        if stored.support != found.support:
            yield f"{name} has {stored.support} images, in the confusion matrix {found.support}"
        for score in ("precision", "recall", "f1"):
            what = f"the {score} of {name}"
            yield from _differing(what, getattr(stored, score), getattr(found, score))
    yield from _differing("accuracy", metrics.accuracy, accuracy(classes))
    yield from _differing("macro_f1", metrics.macro_f1, macro_average("f1", classes))
    yield from _differing("precision", metrics.precision, macro_average("precision", classes))
    yield from _differing("recall", metrics.recall, macro_average("recall", classes))


def _differing(what: str, stored: float, found: float) -> Iterator[str]:
    if not math.isclose(stored, found, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE):
        yield f"{what} is {stored:.6g}, by its confusion matrix {found:.6g}"


def _time_to_accuracy(record: Record, metrics: Metrics) -> Iterator[str]:
    target, share = record.cell.target_accuracy, metrics.commonest_share
    by_curve_s = time_to_accuracy_s(record.curve, target, share)
    stored_s, cold_s = metrics.time_to_accuracy_s, metrics.time_to_accuracy_with_compile_s
    if by_curve_s is None or stored_s is None:
        agree = by_curve_s == stored_s
    else:
        agree = _close(by_curve_s, stored_s)
    if not agree:
        yield f"its target was {_when(stored_s)}, by its curve {_when(by_curve_s)}"
    if stored_s is not None and cold_s is not None and cold_s < stored_s * (1 - TIME_TOLERANCE):
        yield f"its target was {_when(stored_s)}, with compilation sooner: {_when(cold_s)}"


def _when(seconds: float | None) -> str:
    return "not reached" if seconds is None else f"reached after {seconds:.6g} s"
