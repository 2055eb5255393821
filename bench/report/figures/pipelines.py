"""Pipelines: what each delivers alone, what the net could take, and what training got."""

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from bench.report.figures.comparison import Case, Comparison, shown_name
from bench.report.figures.curves import QUANTITIES, small_multiples
from bench.report.figures.heatmaps import has_values, heat_map, tiles
from bench.report.figures.style import (
    PALETTE,
    Picture,
    Section,
    Sketch,
    colour_key,
    cycle,
    name_rows,
    new_figure,
    note_row,
    panels,
    picture,
    plain_log_ticks,
)
from bench.report.loaders import rows, title
from bench.report.render import Row
from bench.store.loaders_record import LoadersRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12
LOOKS: dict[str, dict[str, Any]] = {
    "alone": {"marker": "D", "color": PALETTE[2], "linestyle": "none"},
    "ceiling": {"marker": "|", "color": PALETTE[0], "linestyle": "none", "markeredgewidth": 2.5,
                "markersize": 11},
    "in training": {"marker": "o", "color": PALETTE[1], "linestyle": "none"},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A pipeline that feeds a net, in images/s; means over augmentations and seeds."""

    pipeline: str
    alone: float | None  # without a net, if `bench loaders` measured it
    alone_batch: int | None  # images per batch there
    ceiling: float | None  # the net fed one cached batch
    training: float | None  # the net fed by the pipeline
    stall_pct: float | None
    status: str = ""  # why there are no numbers


def pipelines(comparison: Comparison) -> Iterator[Sketch]:
    """Throughput and curves of nets that several pipelines feed, and stalls."""
    yield from _throughput(comparison)
    quantity = QUANTITIES[0]
    yield from small_multiples(
        comparison,
        blocks(comparison),
        quantity,
        "seconds",
        factors=("pipeline", "augmentation"),
        name=f"pipelines_curves_{quantity.name}",
        what="where several pipelines feed a net, a panel for each architecture and optimizer",
        more=_left_out(comparison),
    )
    several = len({case.cell.pipeline for case in comparison.cases}) > 1
    column = "pipeline" if several else "augmentation"
    found = tiles(comparison.cases, "stall_pct", "architecture", column)
    if len(found.tiles) > 1 and has_values(found):
        yield heat_map(
            found,
            "stall_pct",
            name=comparison.name(f"stall_architecture_{column}"),
            title=f"Stall (%): architecture by {column}",
            caption="Share of training time spent waiting for data, mean over the cells of a place "
            "and their seeds; below zero, training was faster than its ceiling. "
            f"{comparison.about(comparison.cases)}",
        )


def blocks(comparison: Comparison) -> dict[str, list[Case]]:
    """Net and optimizer to their cells, where two pipelines or more feed them.

    Of many, those with most pipelines, then the fastest, which a pipeline slows down first.
    """
    several = _several(comparison)
    ranked = sorted(several, key=lambda pair: _rank(several[pair], pair))
    return {
        f"{net} · {optimizer}": several[net, optimizer]
        for net, optimizer in sorted(ranked[:MAX_PANELS])
    }


def _several(comparison: Comparison) -> dict[tuple[str, str], list[Case]]:
    found: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in comparison.cases:
        found[case.cell.architecture, case.cell.optimizer].append(case)
    return {
        pair: cases for pair, cases in found.items() if len({c.cell.pipeline for c in cases}) > 1
    }


def _rank(cases: Sequence[Case], pair: tuple[str, str]) -> tuple[int, float, tuple[str, str]]:
    pipelines = {case.cell.pipeline for case in cases}
    return -len(pipelines), -(_mean(cases, "images_per_s") or 0.0), pair


def _left_out(comparison: Comparison) -> str:
    number = len(_several(comparison))
    if number <= MAX_PANELS:
        return ""
    return (
        f" {MAX_PANELS} of {number} pairs of architecture and optimizer: those with most "
        "pipelines, and among these the fastest in training."
    )


def feeds(cases: Sequence[Case], loaders: LoadersRecord | None) -> list[Feed]:
    """The pipelines of a net, the fastest in training first, those without numbers last."""
    by_pipeline: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_pipeline[case.cell.pipeline].append(case)
    found = [_feed(name, cases, loaders) for name, cases in by_pipeline.items()]
    return sorted(found, key=lambda feed: (-(feed.training or 0.0), feed.pipeline))


def _feed(pipeline: str, cases: Sequence[Case], loaders: LoadersRecord | None) -> Feed:
    ceilings = [
        run.throughput.ceiling
        for case in cases
        for run in case.good
        if run.throughput is not None and run.throughput.ceiling is not None
    ]
    batch_size = cases[0].cell.batch_size
    measured = [row for row in _measured(loaders) if row["pipeline"] == pipeline]
    alone = min(measured, key=lambda row: abs(row["batch_size"] - batch_size), default=None)
    training = _mean(cases, "images_per_s")
    return Feed(
        pipeline=pipeline,
        alone=alone["images_per_s"] if alone else None,
        alone_batch=alone["batch_size"] if alone else None,
        ceiling=statistics.fmean(ceilings) if ceilings else None,
        training=training,
        stall_pct=_mean(cases, "stall_pct"),
        status="" if training is not None else str(cases[0].row["status"]),
    )


def _mean(cases: Sequence[Case], measure: str) -> float | None:
    values = [value for case in cases if (value := case.mean(measure)) is not None]
    return statistics.fmean(values) if values else None


def _measured(loaders: LoadersRecord | None) -> list[Row]:
    return [row for row in (rows(loaders) if loaders else []) if row["images_per_s"] is not None]


def _throughput(comparison: Comparison) -> Iterator[Sketch]:
    loaders = comparison.loaders
    found = {name: feeds(cases, loaders) for name, cases in blocks(comparison).items()}
    every = [feed for group in found.values() for feed in group]
    if all(feed.training is None for feed in every):
        return
    batches = sorted({feed.alone_batch for feed in every if feed.alone_batch is not None})
    alone = ""
    if loaders and batches:
        alone = (
            f" Alone: without a net, {shown_name(loaders.augmentation)} at batch "
            f"{' and '.join(map(str, batches))}."
        )
    entries = tuple((name, look) for name, look in LOOKS.items() if batches or name != "alone")
    cases = [case for group in blocks(comparison).values() for case in group]
    yield Sketch(
        name=comparison.name("pipelines_throughput"),
        title="Pipelines feeding a net",
        caption="Images/s in training, of the ceiling (the same net fed one cached batch) and, "
        f"if measured, of the pipeline alone; means over augmentations and seeds.{alone}"
        f"{_left_out(comparison)} {comparison.about(cases)}",
        figure=_throughput_figure(found),
        sections=(Section(title="images/s", entries=entries, handle_in=0.14),),
    )


def _throughput_figure(found: dict[str, list[Feed]]) -> "Figure":
    most = max(map(len, found.values()))
    columns = 1 if len(found) == 1 else 2
    rows_of_panels = -(-len(found) // columns)
    figure = new_figure(5.6 if columns == 1 else 7.4, (0.7 + 0.24 * most) * rows_of_panels)
    for axes, (name, group) in zip(panels(figure, len(found), columns), found.items(), strict=True):
        for row, feed in enumerate(group):
            _draw_feed(axes, row, feed)
        axes.set_title(shown_name(name, 40))
        axes.set_xscale("log")
        axes.margins(x=0.08)
        plain_log_ticks(axes.xaxis)
        name_rows(axes, [shown_name(feed.pipeline) for feed in group])
        axes.set_xlabel("images/s")
    return figure


def _draw_feed(axes: "Axes", row: int, feed: Feed) -> None:
    values = {"alone": feed.alone, "ceiling": feed.ceiling, "in training": feed.training}
    for name, value in values.items():
        if value is not None:
            axes.plot([value], [row], **{"markersize": 5.5} | LOOKS[name])
    note_row(axes, row, feed.status if feed.stall_pct is None else f"stall {feed.stall_pct:.0f} %")


def pipelines_alone(loaders: LoadersRecord) -> Iterator[Picture]:
    """What each pipeline delivers without a net, as `bench loaders` measured it."""
    found = _measured(loaders)
    if not found:
        return
    group = shown_name(title(loaders), length=None)
    failed = [
        f"{shown_name(row['pipeline'])} at {row['batch_size']} ({row['status']})"
        for row in rows(loaders)
        if row["images_per_s"] is None
    ]
    colours = cycle(list(dict.fromkeys(row["pipeline"] for row in found)), PALETTE)
    sketch = Sketch(
        name="pipelines_alone",
        title="Pipelines alone",
        caption="Images/s that each pipeline delivers without a net, median of the repeats; bars "
        f"span the quartiles. {group}."
        + (f" Without a measurement: {', '.join(failed)}." if failed else ""),
        figure=_alone_figure(found, colours),
        sections=(colour_key("pipeline", colours),),
    )
    digest = hashlib.sha256(msgspec.json.encode(loaders, order="deterministic"))
    yield picture(sketch, group=group, mark=digest.hexdigest()[:8])


def _alone_figure(found: Sequence[Row], colours: dict[str, str]) -> "Figure":
    from matplotlib.ticker import NullLocator

    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for name, color in colours.items():
        points = [row for row in found if row["pipeline"] == name]
        medians = [row["images_per_s"] for row in points]
        below = [row["images_per_s"] - row["images_per_s_q1"] for row in points]
        above = [row["images_per_s_q3"] - row["images_per_s"] for row in points]
        axes.errorbar(
            [row["batch_size"] for row in points], medians, yerr=[below, above], color=color,
            fmt="o-", linewidth=1.3, markersize=4.5, capsize=3,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    sizes = sorted({row["batch_size"] for row in found})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    plain_log_ticks(axes.yaxis)
    axes.set_xlabel("batch size (images)")
    axes.set_ylabel("images/s")
    axes.grid(visible=True)
    return figure
