"""Pipelines: their throughput alone and in training, and the ceiling of the net."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.columns import METRICS
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, by_axes, levels
from bench.report.figures.heatmaps import heat_map
from bench.report.figures.style import Outcomes
from bench.report.loaders import is_apart, rows, suspect_count
from bench.report.matrix import mean_over_cells
from bench.report.render import SUSPECT, Row
from bench.store.loaders_record import LoadersRecord
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NETS = 12
POINT: dict[str, Any] = {"linestyle": "none", "markersize": 5.5}
LOOKS = {
    "alone": POINT | {"marker": "D", "color": style.PALETTE[2]},
    "ceiling": POINT | {"marker": "|", "color": style.PALETTE[0], "markeredgewidth": 2.5},
    "in training": POINT | {"marker": "o", "color": style.PALETTE[1]},
}

SIZE, READS, DOT = "batch_size", {"files": "o", "array": "s"}, {"linestyle": "none"}
LINE: dict[str, Any] = {"color": style.GREY, "linewidth": 0.7, "linestyle": "--"}
ALONE = {  # name of a figure to its title, what speed is drawn against, and a caption
    "pipelines_alone": ("Pipelines alone", SIZE, "lines span the quartiles"),
    "pipelines_cpu": (
        "CPU time of pipelines",
        "cpu_s_per_1000",
        "batch size {}; dashed: cores kept busy",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A pipeline that feeds a net, in images/s; means over augmentations and seeds."""

    pipeline: str
    rates: Mapping[str, float | None]  # by the names of `LOOKS`
    note: str  # the stall, or why there are no numbers
    partial: bool  # a mean of fewer cells than the net has augmentations: not ranked with others
    outcomes: Outcomes


def pipelines(comparison: Comparison) -> Iterator[style.Sketch]:
    """Throughput of nets that several pipelines feed, and stalls."""
    yield from _throughput(comparison)
    several = len(levels(comparison.outcomes, "pipeline")) > 1
    yield from heat_map(
        comparison,
        METRICS["stall_pct"],
        ("architecture", "pipeline" if several else "augmentation"),
        "Share of training time spent waiting for data; below zero, training was faster than its "
        "ceiling.",
    )


def feeds(outcomes: Outcomes, loaders: LoadersRecord | None) -> list[Feed]:
    """The pipelines of a net, the fastest in training first, those without all cells last."""
    alone = loaders.images_per_s if loaders else {}
    every = max(map(len, by_axes(outcomes, "pipeline").values()), default=0)
    found = []
    for (name,), cells in by_axes(outcomes, "pipeline").items():
        throughputs = [run.throughput for one in cells for run in one.trusted if run.throughput]
        ceilings = [one.ceiling for one in throughputs if one.ceiling is not None]
        size, by_size = cells[0].cell.batch_size, alone.get(name) or {}
        nearest = min(by_size, key=lambda one: abs(one - size), default=0)
        rates = {
            "alone": by_size.get(nearest),
            "ceiling": statistics.fmean(ceilings) if ceilings else None,
            "in training": mean_over_cells(cells, "images_per_s"),
        }
        stall_pct = mean_over_cells(cells, "stall_pct")
        note = SUSPECT if any(one.suspect for one in cells) else str(cells[0].row["status"])
        note = note if stall_pct is None else f"stall {stall_pct:.0f} %"
        measured = sum(one.mean("images_per_s") is not None for one in cells)
        partial = measured < every
        note += f", {measured} of {every}" if partial and measured else ""
        found.append(Feed(pipeline=name, rates=rates, note=note, partial=partial, outcomes=cells))
    return sorted(found, key=lambda one: (one.partial, -(one.rates["in training"] or 0.0)))


def fed(comparison: Comparison) -> dict[str, list[Feed]]:
    """The pipelines of each net that has several; most pipelines first, then the fastest."""
    found = {
        " · ".join(names): feeds(outcomes, comparison.loaders)
        for names, outcomes in by_axes(comparison.outcomes, "architecture", "optimizer").items()
    }
    several = [name for name, group in found.items() if len(group) > 1]
    speeds = {name: found[name][0].rates["in training"] or 0.0 for name in several}
    return {n: found[n] for n in sorted(several, key=lambda n: (-len(found[n]), -speeds[n]))}


def _throughput(comparison: Comparison) -> Iterator[style.Sketch]:
    every = fed(comparison)
    shown = dict(list(every.items())[:MAX_NETS])
    drawn = [feed for group in shown.values() for feed in group]
    if all(feed.rates["in training"] is None for feed in drawn):
        return
    looks = {name: LOOKS[name] for name in LOOKS if any(feed.rates[name] for feed in drawn)}
    yield comparison.sketch(
        "pipelines_throughput",
        "Pipelines feeding a net",
        [
            "Ceiling: the net fed one cached batch. Means over augmentations and seeds.",
            any(feed.partial and feed.rates["in training"] for feed in drawn)
            and "Hollow: of some augmentations only, such as 1 of 3; not ranked with the others.",
            "alone" in looks and "Alone: without a net, at the nearest batch size measured.",
            len(every) > MAX_NETS
            and f"{MAX_NETS} of {len(every)} pairs of architecture and optimizer: those with most "
            "pipelines, and among these the fastest.",
        ],
        _throughput_figure(shown),
        style.Section(title="images/s", looks=looks, gids={}),
        outcomes=[outcome for feed in drawn for outcome in feed.outcomes],
        timed=True,
    )


def _throughput_figure(found: Mapping[str, Sequence[Feed]]) -> "Figure":
    """A row for each pipeline below a heading for each net."""
    rows = [(name, feed) for name, feeds in found.items() for feed in (None, *feeds)]
    names = [style.shown_name(feed.pipeline if feed else name, 40) for name, feed in rows]
    gids = [style.gid(feed.outcomes) if feed else None for _, feed in rows]
    figure, (axes,) = style.canvas(4.6, 0.6 + 0.2 * len(rows))
    for row, (_, feed) in enumerate(rows):
        for what, value in feed.rates.items() if feed else ():
            if value:
                face = {"markerfacecolor": "none"} if feed and feed.partial else {}
                axes.plot([value], [row], gid=gids[row], **LOOKS[what] | face)
    axes.margins(x=0.08)
    style.log_scale(axes.xaxis)
    style.rows(axes, names, [feed.note if feed else "" for _, feed in rows], gids)
    axes.set_xlabel(style.toward_better("images/s", higher=True))
    return figure


def pipelines_alone(comparison: Comparison) -> Iterator[style.Sketch]:
    """What each pipeline delivers without a net, as `bench loaders` measured it."""
    loaders = comparison.loaders
    every = rows(loaders) if loaders else []
    found = [row for row in every if row["images_per_s"] is not None]
    if loaders is None or not found:
        return
    failed = [
        f"{style.shown_name(row['pipeline'])} at {row['batch_size']} ({row['status']})"
        for row in every
        if row not in found
    ]
    interrupted = sum(row["status"] == "interrupted" for row in found)
    own = ", ".join(dict.fromkeys(row["pipeline"] for row in found if is_apart(row)))
    hollow = [suspect_count(found), f"{interrupted} interrupted" * bool(interrupted)]
    colours = style.cycle(list(dict.fromkeys(row["pipeline"] for row in found)), style.PALETTE)
    cells = by_axes(comparison.outcomes, "pipeline")
    gids = {name: style.gid(each) for (name,), each in cells.items()}
    marks = {f"reads {row['reads']}": {"marker": READS[row["reads"]], **DOT} for row in found}
    names = {f"{number}  {name}": name for number, name in enumerate(colours, start=1)}
    numbered = {text: colours[name] for text, name in names.items()}
    own_gids = {text: gids[name] for text, name in names.items() if name in gids}
    keys = (
        style.colour_key("pipeline", colours),
        style.colour_key("pipeline", numbered, gids=own_gids),
    )
    reads = [style.Section(title="", looks=marks, gids={})] * (len(marks) > 1)
    usual = statistics.mode(row[SIZE] for row in found)
    one_size = len({row[SIZE] for row in found}) == 1
    for key, (name, (title, x, caption)) in zip(keys, ALONE.items(), strict=True):
        shown = [row for row in found if row[x] and (x == SIZE or row[SIZE] == usual)]
        if shown:
            yield style.Sketch(
                name=name,
                title=title + (" (reference)" * comparison.reference),
                caption=f"Without a net, median of the repeats; {caption.format(usual)}. "
                f"{style.shown_name(loaders.augmentation)}, {loaders.precision}."
                + (f" Hollow: {', '.join(filter(None, hollow))}." if any(hollow) else "")
                + (f" Other work by the same name, not ranked: {own}." if own else "")
                + (f" Without a measurement: {', '.join(failed)}." if failed else ""),
                figure=bars(shown, colours, gids)
                if x == SIZE and one_size
                else _alone_figure(shown, x, colours, gids),
                sections=() if x == SIZE and one_size else (key, *reads),
            )


def bars(found: Sequence[Row], colours: Mapping[str, str], gids: Mapping[str, str]) -> "Figure":
    """A bar for each pipeline with its images/s and quartiles; hollow if untrusted."""
    figure, (axes,) = style.canvas(4.6, 0.35 + 0.2 * len(found))
    values, low, high = ([row[f"images_per_s{end}"] for row in found] for end in ("", "_q1", "_q3"))
    own = [gids.get(row["pipeline"], "") for row in found]
    edges = [colours[row["pipeline"]] for row in found]
    faces = [edge if row["trusted"] else "none" for row, edge in zip(found, edges, strict=True)]
    style.bars(axes, values, own, height=0.7, color=faces, edgecolor=edges)
    axes.hlines(range(len(found)), low, high, color=style.FOREGROUND, linewidth=1)
    mixed = len({row["reads"] for row in found}) > 1
    notes = [
        f"{row['images_per_s']:,.0f}"
        + (f", reads {row['reads']}" if mixed else "")
        + ("*" if row["draws"].startswith("per batch") else "")
        for row in found
    ]
    names = [style.shown_name(row["pipeline"]) for row in found]
    style.rows(axes, names, notes, own, ends=high)
    axes.set_xlim(0, max(high))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    starred = "\n* one random draw per batch" * any("*" in note for note in notes)
    axes.set_xlabel(style.toward_better("images/s", higher=True) + starred, loc="left")
    return figure


def _alone_figure(
    found: Sequence[Row], x: str, colours: Mapping[str, str], gids: Mapping[str, str]
) -> "Figure":
    from matplotlib.ticker import NullLocator

    figure, (axes,) = style.canvas(4.6, 3.2)
    columns = [x, "images_per_s", "images_per_s_q1", "images_per_s_q3"]
    groups: Any = pd.DataFrame(found).groupby(["pipeline", "trusted", "reads"])
    for (name, trusted, reads), points in groups:
        values, medians, low, high = points[columns].to_numpy(float).T
        container = axes.errorbar(
            values, medians, [medians - low, high - medians], color=colours[name],
            fmt=READS[reads] + "-" * trusted, linewidth=1.3, markersize=4.5,
            markerfacecolor=None if trusted else "none", capsize=3,
        )  # fmt: skip
        for artist in container.get_children():
            artist.set_gid(gids.get(name))
    style.log_scale(axes.yaxis)
    axes.set_ylabel(style.toward_better("images/s", higher=True))
    if x != SIZE:
        _cores(axes, found, list(colours), gids)
    else:
        batch_sizes = sorted({row[SIZE] for row in found})
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(batch_sizes, [f"{size:,}" for size in batch_sizes])
        axes.set_xlabel("batch size (images)")
    return figure


def _cores(axes: "Axes", found: Sequence[Row], names: list[str], gids: Mapping[str, str]) -> None:
    """Numbers the points as in the key, and draws lines along which 1, 2, 4, ... cores are busy."""
    axes.set_xscale("log")
    axes.margins(0.15)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    text: dict[str, Any] = {"textcoords": "offset points", "size": style.SMALL}
    for side, row in zip(cycle((5, -5)), found, strict=False):  # so that neighbours don't overlap
        axes.annotate(
            str(1 + names.index(row["pipeline"])), (row["cpu_s_per_1000"], row["images_per_s"]),
            xytext=(side, -3), ha="left" if side > 0 else "right", weight="bold",
            gid=gids.get(row["pipeline"]), **text,
        )  # fmt: skip
    for cores in (2**power for power in range(10)):
        start, end = max(left, 1000 * cores / high), min(right, 1000 * cores / low)
        if end > 1.1 * start:
            top = 1000 * cores / start
            axes.plot([start, end], [top, 1000 * cores / end], **LINE)
            axes.annotate(count(cores, "core"), (start, top), xytext=(4, -9), **text)
    axes.set(xlim=(left, right), ylim=(low, high))
    style.log_scale(axes.xaxis)
    axes.set_xlabel(style.toward_better("CPU seconds per 1,000 images", higher=False))
