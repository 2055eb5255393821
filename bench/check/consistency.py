"""Whether the figures of a record agree with each other, and the record with its own run.

Whether the figures of `bench loaders` agree with each other.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from bench.record import (
    LARGEST_STALL_PCT,
    Metrics,
    Record,
    accuracy,
    class_scores,
    macro_average,
    time_to_accuracy_s,
)
from bench.store.loaders_record import LoadersRecord, Repeat, Series

SINGLE = 1e-5  # relative: what 32 bits lose in a score
CLOCK = 1e-6
FAILED = ("diverged", "oom", "timeout", "crashed", "skipped")


def problems(record: Record) -> Iterator[str]:
    """What does not fit, a few words each; nothing for a record that can be believed."""
    yield from _identity(record)
    yield from _outcome(record)
    yield from _curve(record)
    yield from _times(record)
    yield from _speed(record)
    if record.metrics is not None:
        yield from _scores(record.metrics)
        yield from _reached(record, record.metrics)
        yield from _support(record, record.metrics)


def _identity(record: Record) -> Iterator[str]:
    run = record.run
    if run.id != record.run_id:
        yield f"its cell, seed, versions and images are those of run {run.id}"


def _outcome(record: Record) -> Iterator[str]:
    if record.status == "ok":
        if record.metrics is None:
            yield "it ended ok without scores"
        if record.throughput is None:
            yield "it ended ok without a speed"
        if record.error is not None:
            yield "it ended ok with an error"
        if len(record.curve) != record.cell.epochs:
            yield f"it ended ok after {len(record.curve)} of {record.cell.epochs} epochs"
    elif record.status in FAILED and record.error is None:
        yield f"it ended {record.status} without saying why"
    for name in ("started", "finished"):
        if not _is_moment(getattr(record, name)):
            yield f"{name} is no time with its zone: {getattr(record, name)!r:.40}"


def _is_moment(text: str) -> bool:
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
    if not _rises([point.images for point in record.curve], strictly=True):
        yield "the images of its curve do not rise"
    if not _rises([point.train_s for point in record.curve]):
        yield "the training clock of its curve goes back"


def _rises(values: Sequence[float], *, strictly: bool = False) -> bool:
    pairs = pairwise(values)
    return all(before < after or (before == after and not strictly) for before, after in pairs)


def _times(record: Record) -> Iterator[str]:
    timings = record.timings
    if timings.train_s > timings.total_s * (1 + CLOCK):
        yield f"training took {timings.train_s:.6g} s, the whole run {timings.total_s:.6g} s"
    if timings.fit_s > timings.train_s * (1 + CLOCK):
        yield f"fitting on data took {timings.fit_s:.6g} s of {timings.train_s:.6g} s of training"
    if record.status == "ok" and record.curve:
        last_s = record.curve[-1].train_s
        if not math.isclose(last_s, timings.train_s, rel_tol=CLOCK, abs_tol=CLOCK):
            yield f"its curve ends at {last_s:.6g} s, its training clock at {timings.train_s:.6g} s"


def _speed(record: Record) -> Iterator[str]:
    speed = record.throughput
    if speed is None:
        return
    if not speed.p5 <= speed.median <= speed.p95:
        yield (
            f"its median of {speed.median:.6g} images/s lies outside its percentiles "
            f"{speed.p5:.6g} and {speed.p95:.6g}"
        )
    if (speed.ceiling is None) != (speed.stall_pct is None):
        yield "of ceiling and stall it has one without the other"
    elif speed.ceiling is not None and speed.stall_pct is not None:
        stall_pct = 100 * (1 - speed.median / speed.ceiling)
        if abs(stall_pct) < LARGEST_STALL_PCT and not math.isclose(
            stall_pct, speed.stall_pct, rel_tol=CLOCK, abs_tol=CLOCK
        ):
            yield f"its stall is {speed.stall_pct:.6g} %, by its speeds {stall_pct:.6g} %"


def _scores(metrics: Metrics) -> Iterator[str]:
    """All scores follow from the confusion matrix; a class that nothing is said of counts not."""
    classes = class_scores(metrics.confusion)
    for one, scores in zip(classes, metrics.per_class, strict=True):
        if scores.support != one.support:
            yield (
                f"{_named(scores.name)} has {scores.support} images, in the confusion {one.support}"
            )
        for name in ("precision", "recall", "f1"):
            said, found = getattr(scores, name), getattr(one, name)
            if not _agree(said, found):
                yield _differs(f"the {name} of {_named(scores.name)}", said, found)
    for name, value in (
        ("accuracy", accuracy(classes)),
        ("macro_f1", macro_average("f1", classes)),
        ("precision", macro_average("precision", classes)),
        ("recall", macro_average("recall", classes)),
    ):
        if not _agree(getattr(metrics, name), value):
            yield _differs(name, getattr(metrics, name), value)


def _named(name: str) -> str:
    return f"class {name[:40]!r}"


def _differs(name: str, said: float, found: float) -> str:
    return f"{name} is {said:.6g}, by its confusion matrix {found:.6g}"


def _agree(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SINGLE, abs_tol=SINGLE)


def _reached(record: Record, metrics: Metrics) -> Iterator[str]:
    by_curve_s = time_to_accuracy_s(record.curve, record.cell.target_accuracy)
    said_s, with_s = metrics.time_to_accuracy_s, metrics.time_to_accuracy_with_compile_s
    if (by_curve_s is None) != (said_s is None) or (
        by_curve_s is not None
        and said_s is not None
        and not math.isclose(by_curve_s, said_s, rel_tol=CLOCK, abs_tol=CLOCK)
    ):
        yield f"its target was {_when(said_s)}, by its curve {_when(by_curve_s)}"
    if said_s is not None and with_s is not None and with_s < said_s * (1 - CLOCK):
        yield f"its target was {_when(said_s)}, with compilation sooner: {_when(with_s)}"


def _when(seconds: float | None) -> str:
    return "not reached" if seconds is None else f"reached after {seconds:.6g} s"


def _support(record: Record, metrics: Metrics) -> Iterator[str]:
    images, asked = sum(map(sum, metrics.confusion)), record.cell.test_images
    if asked is not None and images > asked:
        yield f"it was scored on {images} images of {asked}"


CLOSE = 0.05  # relative: a repeat's images and seconds are read at moments of their own


def loaders_problems(record: LoadersRecord) -> Iterator[str]:
    """What does not fit, a few words each."""
    names = [(series.pipeline, series.batch_size) for series in record.series]
    if len(set(names)) < len(names):
        yield "it has two series of one pipeline and batch size"
    if not record.bandwidth_gb_per_s > 0:
        yield f"the memory's bandwidth is {record.bandwidth_gb_per_s:g} GB/s"
    if record.images < 1 or min(record.image_size) < 1:
        yield f"it read {record.images} images of {record.image_size}"
    for series in record.series:
        where = f"{series.pipeline} at batch size {series.batch_size}"
        for problem in _of_series(series):
            yield f"{where}: {problem}"


def _of_series(series: Series) -> Iterator[str]:
    if series.batch_size < 1:
        yield "no batch is so small"
    if series.status == "ok" and not series.repeats:
        yield "it ended ok without a repeat"
    if series.status not in ("ok", "interrupted") and not series.reason:
        yield f"it ended {series.status} without saying why"
    for name in ("build_s", "first_batch_s", "bytes_per_image"):
        value = getattr(series, name)
        if value is not None and not 0 <= value < math.inf:
            yield f"{name} is {value:g}"
    for number, repeat in enumerate(series.repeats, start=1):
        if not _is_sound(repeat, series.batch_size):
            yield f"repeat {number} has images, seconds and speed that do not agree"


def _is_sound(repeat: Repeat, batch_size: int) -> bool:
    if repeat.images < 1 or not (0 < repeat.batch_s < math.inf and repeat.images_per_s > 0):
        return False
    most = batch_size / repeat.batch_s  # the last batch of an epoch may be smaller
    return 0 < repeat.images_per_s <= most * (1 + CLOSE)
