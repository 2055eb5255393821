"""Times as bars: how soon each cell reached the target, and where the time of a run went."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report.figures.comparison import Case, Comparison, levels, shown_name
from bench.report.figures.style import (
    GREY,
    PALETTE,
    SMALL,
    Sketch,
    colour_key,
    cycle,
    name_rows,
    new_figure,
    note_row,
)
from bench.report.render import NOT_REACHED
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BARS = 72
MAX_PART_BARS = 60
BAR_IN = 0.165
BARS_IN = 2.4  # for the bars, at least
PARTS = {
    "import": PALETTE[7],
    "load": PALETTE[10],
    "build": PALETTE[6],
    "first batch": PALETTE[4],
    "compile": PALETTE[3],
    "capture": PALETTE[9],
    "other warm-up": PALETTE[8],
    "train": PALETTE[1],
    "data wait": PALETTE[0],
    "evaluate": PALETTE[2],
    "rest": PALETTE[11],
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A cell's time to accuracy."""

    case: Case
    warm_s: float | None  # mean over the seeds that reached the target; None if none did
    with_compile_s: float | None  # including first batch and compilation
    span: tuple[float, float] | None  # least and most of the seeds
    note: str  # beside the bar


def time_to_accuracy(comparison: Comparison) -> Iterator[Sketch]:
    """A bar for each cell; nothing without a validation set, or if no cell reached the target."""
    cases = [case for case in comparison.cases if case.row["reached"] is not None]
    found = bars(cases)
    if len(found) < 2 or all(bar.warm_s is None for bar in found):
        return
    kept = found[:MAX_BARS]
    left_out = ""
    if len(kept) < len(found):
        missed = sum(bar.warm_s is None for bar in found[MAX_BARS:])
        left_out = (
            f" The first {len(kept)} of {count(len(found), 'cell')}; of those left out, {missed} "
            "did not reach the target."
        )
    target = cases[0].cell.target_accuracy
    colours = cycle(levels(cases, "optimizer"), PALETTE)
    whiskers = " Whiskers span the seeds." if any(bar.span for bar in kept) else ""
    yield Sketch(
        name=comparison.name("time_to_accuracy"),
        title=f"Time to {target:.1%} validation accuracy",
        caption=f"Seconds of the training clock until validation accuracy first reached "
        f"{target:.1%}, mean over the seeds that did; the pale part is the first batch and "
        f"compilation.{whiskers}{left_out} {comparison.about(cases)}",
        figure=_figure(kept, colours),
        sections=(colour_key("optimizer", colours),),
    )


def bars(cases: Sequence[Case]) -> list[Bar]:
    """All cells: reached by all seeds (fastest first), then by some, by none, then the failed."""
    return sorted((_bar(case) for case in cases), key=_order)


def _order(bar: Bar) -> tuple[int, float, str]:
    good, reached = len(bar.case.good), int(bar.case.row["reached"] or 0)
    if not good:
        return 3, 0.0, bar.case.label
    if bar.warm_s is None:
        return 2, -(bar.case.mean("accuracy") or 0.0), bar.case.label
    return int(reached < good), bar.warm_s, bar.case.label


def _bar(case: Case) -> Bar:
    values = case.over_seeds("time_to_accuracy_s")
    warm_s = case.mean("time_to_accuracy_s")
    return Bar(
        case=case,
        warm_s=warm_s,
        with_compile_s=case.mean("time_to_accuracy_with_compile_s"),
        span=(min(values), max(values)) if len(values) > 1 else None,
        note=_note(case, warm_s),
    )


def _note(case: Case, warm_s: float | None) -> str:
    if not case.good:
        return str(case.row["status"])
    if warm_s is None:
        best = case.mean("accuracy")
        return NOT_REACHED if best is None else f"{NOT_REACHED} (test {best:.1%})"
    notes = [f"{warm_s:,.{2 if warm_s < 10 else 1 if warm_s < 100 else 0}f} s"]
    reached = int(case.row["reached"])
    if reached < len(case.runs):
        notes.append(f"{reached} of {len(case.runs)} runs")
    if case.suspect:
        notes.append("timing suspect")
    return ", ".join(notes)


def _figure(kept: Sequence[Bar], colours: Mapping[str, str]) -> "Figure":
    label_in = 0.058 * max(len(bar.case.label) for bar in kept)
    note_in = 0.058 * max(len(bar.note) for bar in kept)
    figure = new_figure(max(6.2, label_in + note_in + BARS_IN), 0.6 + BAR_IN * len(kept))
    axes = figure.subplots()
    rows = range(len(kept))
    own = [colours[bar.case.cell.optimizer] for bar in kept]
    whole = [bar.with_compile_s or bar.warm_s or 0.0 for bar in kept]
    axes.barh(rows, whole, color=own, alpha=0.35, height=0.75)
    axes.barh(rows, [bar.warm_s or 0.0 for bar in kept], color=own, height=0.75)
    for row, bar in enumerate(kept):
        if bar.span is not None:
            axes.plot(bar.span, [row, row], color=GREY, linewidth=1.2, marker="|")
        note_row(axes, row, bar.note, style="normal" if bar.warm_s is not None else "italic")
    name_rows(axes, [bar.case.label for bar in kept], size=SMALL)
    axes.set_xlim(left=0)
    axes.set_xlabel("time to accuracy (s)")
    return figure


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the runs of a net with a pipeline spent."""

    label: str  # net and pipeline
    runs: int
    seconds: dict[str, float]  # by part, mean over the runs

    @property
    def total_s(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())


def time_parts(comparison: Comparison) -> Iterator[Sketch]:
    """A stacked bar for each net and pipeline; nothing if no run succeeded."""
    found = spent(comparison)
    if not found:
        return
    kept = found[:MAX_PART_BARS]
    left_out = f" The longest {len(kept)} of {len(found)}." if len(kept) < len(found) else ""
    used = {part: c for part, c in PARTS.items() if any(one.seconds[part] > 0 for one in kept)}
    good = [case for case in comparison.cases if case.good]
    yield Sketch(
        name=comparison.name("where_the_time_went"),
        title="Where the time of a run went",
        caption="Seconds of a run, means over optimizers, augmentations and seeds. Data wait is "
        "the stall's share of the training clock. Import, first batch and compilation happen "
        "once per worker and are counted in full for each of its runs. Rest is what no part "
        f"covers.{left_out} {comparison.about(good)}",
        figure=_parts_figure(kept),
        sections=(colour_key("part", used),),
    )


def spent(comparison: Comparison) -> list[Spent]:
    """The parts of each net and pipeline, the longest in total first."""
    by_pair: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for case in comparison.cases:
        by_pair[case.cell.architecture, case.cell.pipeline] += case.good
    found = []
    for (net, pipeline), runs in by_pair.items():
        if runs:
            each = [seconds(run) for run in runs]
            found.append(
                Spent(
                    label=f"{shown_name(net)} · {shown_name(pipeline)}",
                    runs=len(runs),
                    seconds={p: statistics.fmean(one[p] for one in each) for p in PARTS},
                )
            )
    return sorted(found, key=lambda bar: (-bar.total_s, bar.label))


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
        "compile": timings.compile_s,
        "capture": timings.capture_s,
        "other warm-up": max(0.0, timings.warmup_s - timings.once_s),
        "train": timings.train_s - wait,
        "data wait": wait,
        "evaluate": timings.evaluate_s,
        "rest": max(0.0, timings.total_s - inside - timings.evaluate_s),
    }


def _parts_figure(kept: Sequence[Spent]) -> "Figure":
    figure = new_figure(6.2, 0.6 + 0.22 * len(kept))
    axes = figure.subplots()
    lefts = [0.0] * len(kept)
    for part, color in PARTS.items():
        values = [bar.seconds[part] for bar in kept]
        axes.barh(range(len(kept)), values, left=lefts, color=color, height=0.78)
        lefts = [left + value for left, value in zip(lefts, values, strict=True)]
    for row, bar in enumerate(kept):
        note = f"{bar.total_s:,.{1 if bar.total_s < 1000 else 0}f} s, {count(bar.runs, 'run')}"
        note_row(axes, row, note)
    name_rows(axes, [bar.label for bar in kept], size=7)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds")
    return figure
