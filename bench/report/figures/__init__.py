"""The pictures of one group of results."""

from collections.abc import Iterator, Sequence

from bench.loader_record import LoadersRecord
from bench.record import Record
from bench.report.figures.classes import sketches as classes
from bench.report.figures.comparison import Comparison, comparisons
from bench.report.figures.curves import sketches as curves
from bench.report.figures.frontiers import sketches as frontiers
from bench.report.figures.heatmaps import sketches as heatmaps
from bench.report.figures.parts import sketches as parts
from bench.report.figures.picture import Picture, picture
from bench.report.figures.pipelines import about, alone, mark
from bench.report.figures.pipelines import sketches as pipelines
from bench.report.figures.profiles import sketches as profiles
from bench.report.figures.style import Sketch, settings
from bench.report.figures.times import sketches as times


def draw(records: Sequence[Record], loaders: LoadersRecord | None = None) -> list[Picture]:
    """Every picture that the records of one group can support, in the order of a report.

    Args:
        records: Of one machine, source and scale.
        loaders: What `bench loaders` found there, if it was called.
    """
    pictures = []
    with settings():
        for comparison in comparisons(records):
            for sketch in _sketches(comparison, loaders if comparison.number == 1 else None):
                pictures.append(picture(sketch, group=comparison.title, mark=comparison.mark))
        if loaders is not None:
            pictures += [
                picture(sketch, group=about(loaders), mark=mark(loaders))
                for sketch in alone(loaders)
            ]
    return pictures


def _sketches(comparison: Comparison, loaders: LoadersRecord | None) -> Iterator[Sketch]:
    yield from times(comparison)
    yield from profiles(comparison)
    yield from frontiers(comparison)
    yield from heatmaps(comparison)
    yield from curves(comparison)
    yield from pipelines(comparison, loaders)
    yield from parts(comparison)
    yield from classes(comparison)


__all__ = ["Picture", "draw"]
