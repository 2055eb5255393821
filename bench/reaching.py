"""When a curve reached a target; stands on records alone, so that tables can ask it too."""

from collections.abc import Iterable

from bench.record import Point


def time_to_accuracy_s(curve: Iterable[Point], target: float) -> float | None:
    """Training clock at the first point whose validation accuracy is at least `target`."""
    for point in curve:
        if point.validation_accuracy is not None and point.validation_accuracy >= target:
            return point.train_s
    return None
