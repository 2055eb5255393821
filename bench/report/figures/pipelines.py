"""Pipelines: what each delivers alone, what the net could take, and what training got.

Pipelines alone: what each delivers without a net, as `bench loaders` measured it.
"""

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from bench.report.figures.comparison import Case, Comparison, shown_name
from bench.report.figures.curves import QUANTITIES, small_multiples
from bench.report.figures.heatmaps import heat_map, tiles
from bench.report.figures.style import (
    PALETTE,
    Section,
    Sketch,
    colour_key,
    colours,
    new_figure,
    panels,
    plain_log_ticks,
)
from bench.report.loaders import Row, rows, title
from bench.store.loaders_record import LoadersRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 12
LOOKS: dict[str, dict[str, Any]] = {
    "alone": {"marker": "D", "color": PALETTE[2], "linestyle": "none"},
    "ceiling": {"marker": "|", "color": PALETTE[0], "linestyle": "none", "markeredgewidth": 2.5,
                "markersize": 11},
    "in training": {"marker": "o", "color": PALETTE[1], "linestyle": "none"},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A pipeline in front of a net, in images/s; means over policies and seeds.

    Args:
        pipeline: Its spelling.
        alone: Without a net, where `bench loaders` measured it.
        alone_batch: Images a batch there.
        ceiling: The net fed one cached batch.
        training: The net fed by the pipeline.
        stall_pct: What the matrix says of them.
        status: Why there are no figures; "" where there are.
    """

    pipeline: str
    alone: float | None
    alone_batch: int | None
    ceiling: float | None
    training: float | None
    stall_pct: float | None
    status: str = ""


def sketches(comparison: Comparison, loaders: LoadersRecord | None) -> Iterator[Sketch]:
    """Throughput of the pipelines before each net that has several, their curves, and stalls."""
    yield from _throughput(comparison, loaders)
    yield from _curves(comparison)
    several = len({case.cell.pipeline for case in comparison.cases}) > 1
    column = "pipeline" if several else "augmentation"
    found = tiles(comparison.cases, "stall_pct", "architecture", column)
    if len(found.tiles) > 1 and any(tile.value is not None for tile in found.tiles.values()):
        yield heat_map(
            found,
            "stall_pct",
            name=comparison.name(f"stall_architecture_{column}"),
            title=f"Stall (%): architecture by {column}",
            caption="Share of the training time that the same net fed one cached batch would not "
            "have needed, mean over the cells of a place and their seeds; below zero, training was "
            f"quicker than its ceiling. {comparison.about(comparison.cases)}",
        )


def blocks(comparison: Comparison) -> dict[str, list[Case]]:
    """Net and optimizer to their cells, where two pipelines or more feed them.

    Of many those with most pipelines, and among these the quickest, which a pipeline slows first.
    """
    several = _several(comparison)
    ranked = sorted(several, key=lambda pair: _rank(several[pair], pair))
    return {
        f"{net} · {optimizer}": several[net, optimizer]
        for net, optimizer in sorted(ranked[:MOST_PANELS])
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
    """What a caption says where there are more panels than are drawn."""
    number = len(_several(comparison))
    if number <= MOST_PANELS:
        return ""
    return (
        f" {MOST_PANELS} of {number} pairs of architecture and optimizer: those with most "
        "pipelines, and among these the quickest in training."
    )


def feeds(cases: Sequence[Case], loaders: LoadersRecord | None) -> list[Feed]:
    """The pipelines of a net, the one that trains quickest first, those without figures last."""
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
    alone = _nearest(loaders, pipeline, cases[0].cell.batch_size)
    measured = any(case.mean("images_per_s") is not None for case in cases)
    return Feed(
        pipeline=pipeline,
        alone=alone["images_per_s"] if alone else None,
        alone_batch=alone["batch_size"] if alone else None,
        ceiling=statistics.fmean(ceilings) if ceilings else None,
        training=_mean(cases, "images_per_s"),
        stall_pct=_mean(cases, "stall_pct"),
        status="" if measured else str(cases[0].row["status"]),
    )


def _mean(cases: Sequence[Case], measure: str) -> float | None:
    values = [value for case in cases if (value := case.mean(measure)) is not None]
    return statistics.fmean(values) if values else None


def _nearest(loaders: LoadersRecord | None, pipeline: str, batch_size: int) -> Row | None:
    """The row of a pipeline alone whose batch size is nearest."""
    found = [
        row
        for row in (rows(loaders) if loaders else [])
        if row["pipeline"] == pipeline and row["images_per_s"] is not None
    ]
    return min(found, key=lambda row: abs(row["batch_size"] - batch_size), default=None)


def _throughput(comparison: Comparison, loaders: LoadersRecord | None) -> Iterator[Sketch]:
    found = {name: feeds(cases, loaders) for name, cases in blocks(comparison).items()}
    if not found or all(feed.training is None for group in found.values() for feed in group):
        return
    batches = sorted({feed.alone_batch for group in found.values() for feed in group
                      if feed.alone_batch is not None})  # fmt: skip
    looks = dict(LOOKS) if batches else {name: LOOKS[name] for name in ("ceiling", "in training")}
    alone = ""
    if loaders and batches:
        alone = (
            f" Alone: without a net, {shown_name(loaders.augmentation)} at batch "
            f"{' and '.join(map(str, batches))}."
        )
    cases = [case for group in blocks(comparison).values() for case in group]
    yield Sketch(
        name=comparison.name("pipelines_throughput"),
        title="Pipelines in front of a net",
        caption="Images/s in training, of the ceiling (the same net fed one cached batch) and, "
        f"where measured, of the pipeline alone; means over policies and seeds.{alone}"
        f"{_left_out(comparison)} {comparison.about(cases)}",
        figure=_throughput_figure(found),
        sections=(Section(title="images/s", entries=tuple(looks.items()), handle_in=0.14),),
    )


def _throughput_figure(found: dict[str, list[Feed]]) -> "Figure":
    tallest = max(map(len, found.values()))
    columns = 1 if len(found) == 1 else 2
    rows_of_panels = -(-len(found) // columns)
    figure = new_figure(5.6 if columns == 1 else 7.4, (0.7 + 0.24 * tallest) * rows_of_panels)
    for axes, (name, group) in zip(panels(figure, len(found), columns), found.items(), strict=True):
        for place, feed in enumerate(group):
            _draw_feed(axes, place, feed)
        axes.set_title(shown_name(name, 40), loc="left")
        axes.set_xscale("log")
        axes.margins(x=0.08)
        plain_log_ticks(axes.xaxis)
        axes.set_yticks(range(len(group)), [shown_name(feed.pipeline) for feed in group])
        axes.set_ylim(len(group) - 0.5, -0.5)
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("images/s")
    return figure


def _draw_feed(axes: "Axes", place: int, feed: Feed) -> None:
    values = {"alone": feed.alone, "ceiling": feed.ceiling, "in training": feed.training}
    known = {name: value for name, value in values.items() if value is not None}
    for name, value in known.items():
        axes.plot([value], [place], **{"markersize": 5.5} | LOOKS[name])
    note = feed.status if feed.stall_pct is None else f"stall {feed.stall_pct:.0f} %"
    axes.annotate(
        note, (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", size=7,
    )  # fmt: skip


def _curves(comparison: Comparison) -> Iterator[Sketch]:
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


def alone(loaders: LoadersRecord) -> Iterator[Sketch]:
    """What each pipeline delivers without a net; nothing where none has a figure."""
    found = [row for row in rows(loaders) if row["images_per_s"] is not None]
    if not found:
        return
    lost = [
        f"{shown_name(row['pipeline'])} at {row['batch_size']} ({row['status']})"
        for row in rows(loaders)
        if row["images_per_s"] is None
    ]
    sizes = sorted({row["batch_size"] for row in found})
    names = list(dict.fromkeys(row["pipeline"] for row in found))
    many = len(sizes) > 1
    yield Sketch(
        name="pipelines_alone",
        title="Pipelines alone",
        caption="Images/s that each pipeline delivers without a net, median of the repeats; bars "
        f"span the quartiles. {shown_name(title(loaders), length=None)}."
        + (f" Without figures: {', '.join(lost)}." if lost else ""),
        figure=_lines_figure(found, names, sizes) if many else _dots_figure(found, sizes[0]),
        sections=(colour_key("pipeline", colours(names)),) if many else (),
    )


def about(loaders: LoadersRecord) -> str:
    """What stands under the title of its picture."""
    return shown_name(title(loaders), length=None)


def mark(loaders: LoadersRecord) -> str:
    """Eight digits of what was measured."""
    return hashlib.sha256(msgspec.json.encode(loaders, order="deterministic")).hexdigest()[:8]


def _dots_figure(found: Sequence[Row], size: int) -> "Figure":
    figure = new_figure(5.6, 0.6 + 0.26 * len(found))
    axes = figure.subplots()
    for place, row in enumerate(found):
        _draw_quartiles(axes, [row["images_per_s"]], [place], [row], PALETTE[2], across=True)
        axes.annotate(
            f"{row['images_per_s']:,.0f}", (1, place), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", size=7,
        )  # fmt: skip
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.set_yticks(range(len(found)), [shown_name(row["pipeline"]) for row in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(f"images/s at batch {size:,}")
    axes.grid(visible=True, axis="x")
    return figure


def _lines_figure(found: Sequence[Row], names: Sequence[str], sizes: Sequence[int]) -> "Figure":
    from matplotlib.ticker import NullLocator

    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for name, color in colours(names).items():
        points = [row for row in found if row["pipeline"] == name]
        x = [row["batch_size"] for row in points]
        y = [row["images_per_s"] for row in points]
        axes.plot(x, y, color=color, linewidth=1.3)
        _draw_quartiles(axes, x, y, points, color, across=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    plain_log_ticks(axes.yaxis)
    axes.set_xlabel("batch size (images)")
    axes.set_ylabel("images/s")
    axes.grid(visible=True)
    return figure


def _draw_quartiles(
    axes: "Axes", x: Sequence[float], y: Sequence[float], points: Sequence[Row], color: str,
    *, across: bool,
) -> None:  # fmt: skip
    below = [row["images_per_s"] - row["images_per_s_q1"] for row in points]
    above = [row["images_per_s_q3"] - row["images_per_s"] for row in points]
    error: dict[str, Any] = {"xerr" if across else "yerr": [below, above]}
    axes.errorbar(x, y, **error, fmt="o", color=color, markersize=4.5, capsize=3, linewidth=1.2)
