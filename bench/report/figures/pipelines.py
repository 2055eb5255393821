"""Pipelines: what each delivers alone, what the net could take, and what training got."""

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec

from bench.report.columns import METRICS
from bench.report.figures import style
from bench.report.figures.comparison import Case, Comparison, gid
from bench.report.figures.curves import QUANTITIES, small_multiples
from bench.report.figures.heatmaps import heat_map
from bench.report.loaders import rows, suspect_count, title
from bench.report.render import SUSPECT, Row
from bench.store.loaders_record import LoadersRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PANELS = 12
MARKER: dict[str, Any] = {"linestyle": "none", "markersize": 5.5}
LOOKS = {
    "alone": MARKER | {"marker": "D", "color": style.PALETTE[2]},
    "ceiling": MARKER
    | {"marker": "|", "color": style.PALETTE[0], "markeredgewidth": 2.5, "markersize": 11},
    "in training": MARKER | {"marker": "o", "color": style.PALETTE[1]},
}
Blocks = Mapping[str, list[Case]]  # net and optimizer to their cells


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A pipeline that feeds a net, in images/s; means over augmentations and seeds."""

    pipeline: str
    rates: Mapping[str, float | None]  # by the names of `LOOKS`
    alone_batch: int | None  # images per batch of the pipeline alone, if that was measured
    note: str  # the stall, or why there are no numbers
    gid: str  # marks its cells


def pipelines(comparison: Comparison) -> Iterator[style.Sketch]:
    """Throughput and curves of nets that several pipelines feed, and stalls."""
    shown, number = blocks(comparison)
    left_out = (
        f"{MAX_PANELS} of {number} pairs of architecture and optimizer: those with most "
        "pipelines, and among these the fastest in training."
    )
    more = left_out if number > MAX_PANELS else ""
    yield from _throughput(comparison, shown, more)
    quantity = QUANTITIES[0]
    yield from small_multiples(
        comparison,
        shown,
        quantity,
        "seconds",
        factors=("pipeline", "augmentation"),
        name=f"pipelines_curves_{quantity.name}",
        title=" by pipeline",
        caption="where several pipelines feed a net, a panel for each architecture and optimizer",
        more=more,
    )
    several = len({case.cell.pipeline for case in comparison.cases}) > 1
    yield from heat_map(
        comparison,
        METRICS["stall_pct"],
        ("architecture", "pipeline" if several else "augmentation"),
        "Share of training time spent waiting for data, mean over the cells of a place and their "
        "seeds; below zero, training was faster than its ceiling.",
    )


def blocks(comparison: Comparison) -> tuple[Blocks, int]:
    """The nets that two pipelines or more feed, and how many there are.

    Of many, those with most pipelines, then the fastest, which a pipeline slows down first.
    """
    found: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in comparison.cases:
        found[case.cell.architecture, case.cell.optimizer].append(case)
    several = {pair: n for pair, cases in found.items() if (n := _pipelines(cases)) > 1}
    ranked = sorted(
        several,
        key=lambda pair: (-several[pair], -(_mean(found[pair], "images_per_s") or 0.0), pair),
    )
    kept = sorted(ranked[:MAX_PANELS])
    return {" · ".join(pair): found[pair] for pair in kept}, len(several)


def _pipelines(cases: Sequence[Case]) -> int:
    return len({case.cell.pipeline for case in cases})


def feeds(cases: Sequence[Case], loaders: LoadersRecord | None) -> list[Feed]:
    """The pipelines of a net, the fastest in training first, those without numbers last."""
    by_pipeline: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_pipeline[case.cell.pipeline].append(case)
    found = [_feed(name, cases, loaders) for name, cases in by_pipeline.items()]
    return sorted(found, key=lambda feed: (-(feed.rates["in training"] or 0.0), feed.pipeline))


def _feed(pipeline: str, cases: Sequence[Case], loaders: LoadersRecord | None) -> Feed:
    throughputs = [run.throughput for case in cases for run in case.trusted]
    ceilings = [one.ceiling for one in throughputs if one is not None and one.ceiling is not None]
    batch_size = cases[0].cell.batch_size
    measured = [r for r in _measured(loaders) if r["pipeline"] == pipeline and r["trusted"]]
    alone = min(measured, key=lambda row: abs(row["batch_size"] - batch_size), default=None)
    stall_pct = _mean(cases, "stall_pct")
    note = SUSPECT if any(case.suspect for case in cases) else str(cases[0].row["status"])
    return Feed(
        pipeline=pipeline,
        rates={
            "alone": alone["images_per_s"] if alone else None,
            "ceiling": statistics.fmean(ceilings) if ceilings else None,
            "in training": _mean(cases, "images_per_s"),
        },
        alone_batch=alone["batch_size"] if alone else None,
        note=note if stall_pct is None else f"stall {stall_pct:.0f} %",
        gid=gid(cases),
    )


def _mean(cases: Sequence[Case], measure: str) -> float | None:
    values = [value for case in cases if (value := case.mean(measure)) is not None]
    return statistics.fmean(values) if values else None


def _measured(loaders: LoadersRecord | None) -> list[Row]:
    return [row for row in (rows(loaders) if loaders else []) if row["images_per_s"] is not None]


def _throughput(comparison: Comparison, shown: Blocks, more: str) -> Iterator[style.Sketch]:
    loaders = comparison.loaders
    found = {name: feeds(cases, loaders) for name, cases in shown.items()}
    every = [feed for group in found.values() for feed in group]
    if all(feed.rates["in training"] is None for feed in every):
        return
    batches = sorted({feed.alone_batch for feed in every if feed.alone_batch is not None})
    alone = ""
    if loaders and batches:
        alone = (
            f"Alone: without a net, {style.shown_name(loaders.augmentation)} at batch "
            f"{' and '.join(map(str, batches))}."
        )
    looks = {name: look for name, look in LOOKS.items() if batches or name != "alone"}
    yield comparison.sketch(
        "pipelines_throughput",
        "Pipelines feeding a net",
        [
            "Images/s in training, of the ceiling (the same net fed one cached batch) and, if "
            "measured, of the pipeline alone; means over augmentations and seeds.",
            alone,
            more,
        ],
        _throughput_figure(found),
        style.Section(title="images/s", looks=looks, handle_in=0.14, gids={}),
        cases=[case for group in shown.values() for case in group],
        timed=True,
    )


def _throughput_figure(found: dict[str, list[Feed]]) -> "Figure":
    columns = 1 if len(found) == 1 else 2
    figure, grid = style.canvas(
        5.6 if columns == 1 else 7.4,
        (0.7 + 0.24 * max(map(len, found.values()))) * -(-len(found) // columns),
        panels=len(found),
        columns=columns,
    )
    for axes, (name, group) in zip(grid, found.items(), strict=True):
        for row, feed in enumerate(group):
            for what, value in feed.rates.items():
                if value is not None:
                    axes.plot([value], [row], gid=feed.gid, **LOOKS[what])
            style.note_row(axes, row, feed.note, gid=feed.gid)
        axes.set_title(style.shown_name(name, 40))
        axes.set_xscale("log")
        axes.margins(x=0.08)
        style.plain_log_ticks(axes.xaxis)
        names = [style.shown_name(feed.pipeline) for feed in group]
        style.name_rows(axes, names, [feed.gid for feed in group])
        axes.set_xlabel(style.toward_better("images/s", higher=True))
    return figure


def pipelines_alone(loaders: LoadersRecord) -> Iterator[style.Picture]:
    """What each pipeline delivers without a net, as `bench loaders` measured it."""
    found = _measured(loaders)
    if not found:
        return
    failed = [
        f"{style.shown_name(row['pipeline'])} at {row['batch_size']} ({row['status']})"
        for row in rows(loaders)
        if row["images_per_s"] is None
    ]
    interrupted = sum(row["status"] == "interrupted" for row in found)
    hollow = [suspect_count(found), f"{interrupted} interrupted" * bool(interrupted)]
    colours = style.cycle(list(dict.fromkeys(row["pipeline"] for row in found)), style.PALETTE)
    sketch = style.Sketch(
        name="pipelines_alone",
        title="Pipelines alone",
        caption="Images/s that each pipeline delivers without a net, median of the repeats; bars "
        f"span the quartiles. {style.shown_name(loaders.augmentation)}, {loaders.precision}."
        + (f" Hollow: {', '.join(filter(None, hollow))}." if any(hollow) else "")
        + (f" Without a measurement: {', '.join(failed)}." if failed else ""),
        figure=_alone_figure(found, colours),
        sections=(style.colour_key("pipeline", colours),),
    )
    digest = hashlib.sha256(msgspec.json.encode(loaders, order="deterministic")).hexdigest()
    yield style.picture(
        sketch, group=style.shown_name(title(loaders), length=None), mark=digest[:8]
    )


def _alone_figure(found: Sequence[Row], colours: dict[str, str]) -> "Figure":
    from matplotlib.ticker import NullLocator

    figure, (axes,) = style.canvas(5.6, 3.6)
    for (name, color), trusted in product(colours.items(), (True, False)):
        points = [row for row in found if row["pipeline"] == name and row["trusted"] == trusted]
        medians = [row["images_per_s"] for row in points]
        below = [row["images_per_s"] - row["images_per_s_q1"] for row in points]
        above = [row["images_per_s_q3"] - row["images_per_s"] for row in points]
        axes.errorbar(
            [row["batch_size"] for row in points], medians, yerr=[below, above], color=color,
            fmt="o-" if trusted else "o", markerfacecolor=color if trusted else "none",
            linewidth=1.3, markersize=4.5, capsize=3,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    sizes = sorted({row["batch_size"] for row in found})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    style.plain_log_ticks(axes.yaxis)
    axes.set_xlabel("batch size (images)")
    axes.set_ylabel(style.toward_better("images/s", higher=True))
    axes.grid(visible=True)
    return figure
