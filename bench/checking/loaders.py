"""Whether the figures of `bench loaders` agree with each other."""

import math
from collections.abc import Iterator

from bench.loader_record import LoadersRecord, Repeat, Series

CLOSE = 0.05  # relative: a repeat's images and seconds are read at moments of their own


def problems(record: LoadersRecord) -> Iterator[str]:
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


__all__ = ["problems"]
