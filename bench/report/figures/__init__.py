"""The pictures of one group of results."""

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from bench.process import usable_cores
from bench.record import Record
from bench.report.figures.classes import sketches as classes
from bench.report.figures.comparison import Comparison, comparisons
from bench.report.figures.curves import sketches as curves
from bench.report.figures.frontiers import frontier_sketches as frontiers
from bench.report.figures.frontiers import profile_sketches as profiles
from bench.report.figures.heatmaps import sketches as heatmaps
from bench.report.figures.pipelines import about, alone, mark
from bench.report.figures.pipelines import sketches as pipelines
from bench.report.figures.style import Picture, Sketch, picture, settings
from bench.report.figures.times import time_part_sketches as parts
from bench.report.figures.times import time_sketches as times
from bench.store.loaders_record import LoadersRecord

MANY = 200  # records from which on processes share the work: starting them takes a second or two
SECTIONS: tuple[Callable[[Comparison, LoadersRecord | None], Iterable[Sketch]], ...] = (
    lambda comparison, loaders: times(comparison),
    lambda comparison, loaders: profiles(comparison),
    lambda comparison, loaders: frontiers(comparison),
    lambda comparison, loaders: heatmaps(comparison),
    lambda comparison, loaders: curves(comparison),
    pipelines,
    lambda comparison, loaders: parts(comparison),
    lambda comparison, loaders: classes(comparison),
)


def draw(records: Sequence[Record], loaders: LoadersRecord | None = None) -> list[Picture]:
    """Every picture that the records of one group can support, in the order of a report.

    Args:
        records: Of one machine, source and scale.
        loaders: What `bench loaders` found there, if it was called.
    """
    section = partial(_section, comparisons(records), loaders)
    numbers = range(len(SECTIONS))
    workers = min(len(SECTIONS), usable_cores())
    if len(records) < MANY or workers < 2:
        found = [section(number) for number in numbers]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            found = list(pool.map(section, numbers))
    pictures = [each for of_comparison in zip(*found, strict=True) for part in of_comparison
                for each in part]  # fmt: skip
    if loaders is not None:
        with settings():
            pictures += [
                picture(sketch, group=about(loaders), mark=mark(loaders))
                for sketch in alone(loaders)
            ]
    return pictures


def _section(
    found: Sequence[Comparison], loaders: LoadersRecord | None, number: int
) -> list[list[Picture]]:
    """The pictures of one section, for each comparison."""
    with settings():
        return [
            [
                picture(sketch, group=comparison.title, mark=comparison.mark)
                for sketch in SECTIONS[number](
                    comparison, loaders if comparison.number == 1 else None
                )
            ]
            for comparison in found
        ]


__all__ = ["Picture"]
