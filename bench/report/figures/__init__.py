"""The figures of one group of results.

A figure is a generator of sketches in a module of this package and an entry in `FIGURES`.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, starmap
from typing import TYPE_CHECKING

from bench.process import usable_cores
from bench.record import Record
from bench.report.figures.bars import time_to_accuracy
from bench.report.figures.comparison import Comparison, comparisons
from bench.report.figures.curves import curves
from bench.report.figures.effects import effects
from bench.report.figures.frontiers import frontiers
from bench.report.figures.heatmaps import heatmaps
from bench.report.figures.pipelines import pipelines, pipelines_alone
from bench.report.figures.style import Picture, Sketch, picture, settings
from bench.store.loaders_record import LoadersRecord

if TYPE_CHECKING:
    import pandas as pd

Figure = Callable[[Comparison], Iterable[Sketch]]
FIGURES: tuple[Figure, ...] = (
    time_to_accuracy,
    frontiers,
    heatmaps,
    curves,
    pipelines,
    pipelines_alone,
)
MANY = 200  # records from which processes share the work; starting them takes a second or two

__all__ = ["FIGURES", "Picture", "draw"]


def draw(
    records: Sequence[Record],
    loaders: LoadersRecord | None = None,
    measured: "pd.DataFrame | None" = None,
    *,
    reference: bool = False,
) -> list[Picture]:
    """Every figure that the records of one group can support, in the order of the report.

    `records` are of one machine, source and scale; `loaders` is what `bench loaders` measured,
    `measured` the frame of effects. Titles say whether they are `reference` results.
    """
    found = comparisons(records, loaders, reference=reference)
    tasks = [(figure, comparison) for comparison in found for figure in FIGURES]
    workers = min(len(FIGURES), usable_cores())
    if len(records) < MANY or workers < 2:
        drawn = list(starmap(_draw, tasks))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            drawn = list(pool.map(_draw, *zip(*tasks, strict=True)))
    if measured is not None:
        outcomes = [outcome for one in found for outcome in one.outcomes]
        whole = replace(found[0], outcomes=outcomes, differing=(), distinction="")
        drawn.insert(0, _draw(partial(effects, measured=measured), whole))
    return list(chain.from_iterable(drawn))


def _draw(figure: Figure, comparison: Comparison) -> list[Picture]:
    with settings():
        return [
            picture(sketch, group=comparison.title, digest=comparison.digest)
            for sketch in figure(comparison)
        ]
