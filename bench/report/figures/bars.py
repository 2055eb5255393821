"""Bars: how soon each cell reached the target, and where the time went."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from bench.record import Record
from bench.report.columns import TIME
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, by_axes, levels
from bench.report.figures.style import Outcomes
from bench.report.render import NOT_REACHED
from bench.report.rows import Outcome
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BARS = 72
PARTS = {
    "import": style.PALETTE[7],
    "load": style.PALETTE[10],
    "build": style.PALETTE[6],
    "first batch": style.PALETTE[4],
    "compile": style.PALETTE[3],
    "other warm-up": style.PALETTE[8],
    "train": style.PALETTE[1],
    "data wait": style.PALETTE[0],
    "evaluate": style.PALETTE[2],
    "rest": style.PALETTE[11],
}


def time_to_accuracy(comparison: Comparison) -> Iterator[style.Sketch]:
    """A bar for each cell; nothing without a validation set, or if no cell reached the target."""
    outcomes = [outcome for outcome in comparison.outcomes if outcome.cell.holds_out]
    ranked = sorted(outcomes, key=lambda outcome: rank_and_note(outcome)[0])
    if len(ranked) < 2 or not ranked[0].over_seeds(TIME.name):
        return
    kept = ranked[:MAX_BARS]
    colours = style.cycle(levels(outcomes, "optimizer"), style.PALETTE)
    yield comparison.sketch(
        "time_to_accuracy",
        f"Time to {outcomes[0].cell.target_accuracy:.1%} validation accuracy",
        [
            "Training clock, mean over the seeds that reached the target; pale: first batch and "
            "compilation.",
            any(len(one.over_seeds(TIME.name)) > 1 for one in kept) and "Whiskers span the seeds.",
            len(kept) < len(ranked) and f"The first {len(kept)} of {count(len(ranked), 'cell')}.",
        ],
        _times_figure(kept, colours),
        style.colour_key("optimizer", colours),
        outcomes=outcomes,
        timed=True,
    )


def rank_and_note(outcome: Outcome[Record]) -> tuple[tuple[int, float, str], str]:
    """Its place, by time, then misses of a seed, suspect times, misses and failures; a remark."""
    mean_s, accuracy = outcome.mean(TIME.name), outcome.mean("accuracy") or 0.0
    if mean_s is not None:
        order, by = int(outcome.reached < len(outcome.good)), mean_s
        notes = [f"{mean_s:,.{2 if mean_s < 10 else 1 if mean_s < 100 else 0}f} s"]
        if outcome.reached < len(outcome.runs):
            notes.append(f"{outcome.reached} of {len(outcome.runs)} runs")
        if outcome.suspect:
            notes.append(f"{outcome.suspect} suspect")
    elif outcome.reached:
        order, by, notes = 2, -accuracy, ["timing suspect"]
    elif outcome.good:
        order, by, notes = 3, -accuracy, [f"{NOT_REACHED} (test {accuracy:.1%})"]
    else:
        order, by, notes = 4, 0.0, [str(outcome.row["status"])]
    return (order, by, outcome.label), ", ".join(notes)


def _times_figure(kept: Outcomes, colours: style.Levels) -> "Figure":
    labels = [outcome.label for outcome in kept]
    notes = [rank_and_note(outcome)[1] for outcome in kept]
    label_in, note_in = (0.062 * max(map(len, texts)) for texts in (labels, notes))
    figure, (axes,) = style.canvas(max(4.6, label_in + note_in + 2.4), 0.6 + 0.165 * len(kept))
    gids = [style.gid([outcome]) for outcome in kept]
    look = {"color": [colours[outcome.cell.optimizer] for outcome in kept], "height": 0.75}
    whole = [outcome.mean("time_to_accuracy_with_compile_s") or 0.0 for outcome in kept]
    style.bars(axes, whole, gids, alpha=0.35, **look)
    style.bars(axes, [outcome.mean(TIME.name) or 0.0 for outcome in kept], gids, **look)
    for row, outcome in enumerate(kept):
        if len(times := outcome.over_seeds(TIME.name)) > 1:
            ends = [min(times), max(times)]
            axes.plot(ends, [row, row], color=style.GREY, linewidth=1.2, marker="|", gid=gids[row])
    style.rows(axes, labels, notes, gids, size=style.SMALL)
    axes.set_xlim(left=0)
    axes.set_xlabel(style.toward_better(style.axis_label(TIME), higher=False))
    return figure


def time_parts(comparison: Comparison) -> Iterator[style.Sketch]:
    """A stacked bar for each net and pipeline; nothing if no run has times to trust."""
    found = by_axes([one for one in comparison.outcomes if one.trusted], "architecture", "pipeline")
    if not found:
        return
    every = pd.DataFrame({place: mean_parts(outcomes) for place, outcomes in found.items()}).T
    means = every.loc[every.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    kept = {place: found[place] for place in means.index}
    used = {part: color for part, color in PARTS.items() if (means[part] > 0).any()}
    yield comparison.sketch(
        "where_the_time_went",
        "Where the time of a run went",
        [
            "Means over optimizers, augmentations and seeds. Data wait is the stall's share of the "
            "training clock. Import, first batch and compilation happen once per worker and are "
            "counted in full for each of its runs. Rest is what no part covers."
        ],
        _parts_figure(kept, means),
        style.colour_key("part", used, gids={}),
        outcomes=[outcome for outcome in comparison.outcomes if outcome.good],
        timed=True,
    )


def mean_parts(outcomes: Outcomes) -> "pd.Series[float]":
    """The parts of runs with trusted times, mean over the runs."""
    return pd.DataFrame(seconds(run) for one in outcomes for run in one.trusted).mean()


def seconds(run: Record) -> dict[str, float]:
    """The parts of a run; their sum is import plus total if the worker did nothing before."""
    timings = run.timings
    stall_pct = run.throughput.stall_pct if run.throughput else None
    wait = min(1.0, max(0.0, (stall_pct or 0.0) / 100.0)) * timings.train_s
    inside = timings.load_s + timings.build_s + timings.warmup_s + timings.train_s
    return {
        "import": timings.import_s,
        "load": timings.load_s,
        "build": timings.build_s,
        "first batch": timings.first_batch_s,
        "compile": timings.compile_s + timings.capture_s,
        "other warm-up": max(0.0, timings.warmup_s - timings.once_s),
        "train": timings.train_s - wait,
        "data wait": wait,
        "evaluate": timings.evaluate_s,
        "rest": max(0.0, timings.total_s - inside - timings.evaluate_s),
    }


def _parts_figure(kept: Mapping[tuple[str, ...], Outcomes], means: pd.DataFrame) -> "Figure":
    figure, (axes,) = style.canvas(4.6, 0.6 + 0.22 * len(kept))
    gids = [style.gid(outcomes) for outcomes in kept.values()]
    ends = means.cumsum(axis=1)
    for part, color in PARTS.items():
        lefts = ends[part] - means[part]
        style.bars(axes, means[part], gids, left=lefts, color=color, height=0.78)
    runs = [sum(len(one.trusted) for one in outcomes) for outcomes in kept.values()]
    notes = [
        f"{total_s:,.{1 if total_s < 1000 else 0}f} s, {count(number, 'run')}"
        for total_s, number in zip(means.sum(axis=1), runs, strict=True)
    ]
    names = [" · ".join(map(style.shown_name, place)) for place in kept]
    style.rows(axes, names, notes, gids, size=7)
    axes.set_xlim(left=0)
    axes.set_xlabel(style.toward_better("seconds", higher=False))
    return figure
