"""How soon each cell reached the target, as bars.

Where the time of a run went, as stacked bars.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report.figures.comparison import Case, Comparison, levels, shown_name
from bench.report.figures.style import PALETTE, Sketch, colour_key, colours, name_bars, new_figure
from bench.report.render import NOT_REACHED
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 72
BAR_IN = 0.165
NOTE_SIZE = 6.5
NOTE_LETTER_IN = 0.054  # what a letter of a note takes, on average
BARS_IN = 3.6  # for bars and notes, at least


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A cell's time to accuracy in seconds; None where no seed reached the target.

    Args:
        case: The cell.
        warm_s: Mean over the seeds that reached the target.
        with_compile_s: The same, first batch and compilation included.
        span: Least and most of the seeds.
        note: What stands beside the bar.
    """

    case: Case
    warm_s: float | None
    with_compile_s: float | None
    span: tuple[float, float] | None
    note: str


def time_sketches(comparison: Comparison) -> Iterator[Sketch]:
    """The bars; nothing where nothing was held out to see the target by, or none reached it."""
    cases = [case for case in comparison.cases if case.row["reached"] is not None]
    found = bars(cases)
    if len(found) < 2 or all(bar.warm_s is None for bar in found):
        return
    kept = found[:MOST_BARS]
    left_out = ""
    if len(kept) < len(found):
        lost = sum(bar.warm_s is None for bar in found[MOST_BARS:])
        left_out = (
            f" The first {len(kept)} of {count(len(found), 'cell')}; of those left out {lost} "
            "did not reach it."
        )
    target = cases[0].cell.target_accuracy
    looks = colours(levels(cases, "optimizer"))
    whiskers = " Whiskers span the seeds." if any(bar.span for bar in kept) else ""
    yield Sketch(
        name=comparison.name("time_to_accuracy"),
        title=f"Time to {target:.1%} validation accuracy",
        caption=f"Seconds of the training clock until validation accuracy first reached "
        f"{target:.1%}, mean over the seeds that did; the pale part is the first batch and "
        f"compilation.{whiskers}{left_out} {comparison.about(cases)}",
        figure=_figure(kept, looks),
        sections=(colour_key("optimizer", looks),),
    )


def bars(cases: Sequence[Case]) -> list[Bar]:
    """All cells: reached by all seeds, quickest first, then by some, by none, then the failed."""
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


def _figure(kept: Sequence[Bar], looks: dict[str, str]) -> "Figure":
    label_in = 0.058 * max(len(bar.case.label) for bar in kept)
    width_in = max(6.2, label_in + BARS_IN)
    figure = new_figure(width_in, 0.6 + BAR_IN * len(kept))
    axes = figure.subplots()
    longest = max(bar.with_compile_s or bar.warm_s or 0.0 for bar in kept)
    places = range(len(kept))
    colors = [looks[bar.case.cell.optimizer] for bar in kept]
    ends = [bar.with_compile_s or bar.warm_s or 0.0 for bar in kept]
    axes.barh(places, ends, color=colors, alpha=0.35, height=0.75)
    axes.barh(places, [bar.warm_s or 0.0 for bar in kept], color=colors, height=0.75)
    for place, bar in enumerate(kept):
        if bar.span is not None:
            axes.plot(bar.span, [place, place], color="#8C8C8C", linewidth=1.2, marker="|")
        style: Any = "normal" if bar.warm_s is not None else "italic"
        at = reach_s(bar) + longest * 0.012
        axes.text(at, place, bar.note, va="center", size=NOTE_SIZE, style=style)
    labels = [bar.case.label for bar in kept]
    end_s = axis_end_s(kept, width_in - label_in - 0.3)
    name_bars(axes, labels, size=6.5, end=end_s, unit="time to accuracy (s)")
    return figure


def reach_s(bar: Bar) -> float:
    """Where a bar with its whisker ends and its note begins."""
    return max(bar.with_compile_s or bar.warm_s or 0.0, *(bar.span or (0.0,)))


def axis_end_s(kept: Sequence[Bar], axis_in: float) -> float:
    """How far an axis of so many inches must go for all notes to stand on it."""
    notes_in = {bar.case.label: NOTE_LETTER_IN * len(bar.note) + 0.1 for bar in kept}
    needed = [reach_s(bar) / (1 - min(0.8, notes_in[bar.case.label] / axis_in)) for bar in kept]
    return max(max(map(reach_s, kept)) * 1.1, *needed)


COLOURS = {
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
MOST_PART_BARS = 60


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the runs of a net with a pipeline spent.

    Args:
        label: Net and pipeline.
        runs: How many.
        seconds: Part to its seconds, mean over them.
    """

    label: str
    runs: int
    seconds: dict[str, float]

    @property
    def total_s(self) -> float:
        """All parts."""
        return sum(self.seconds.values())


def time_part_sketches(comparison: Comparison) -> Iterator[Sketch]:
    """The bars of every net and pipeline; nothing where no run ended well."""
    found = spent(comparison)
    if not found:
        return
    kept = found[:MOST_PART_BARS]
    left_out = f" The longest {len(kept)} of {len(found)}." if len(kept) < len(found) else ""
    used = {part: c for part, c in COLOURS.items() if any(one.seconds[part] > 0 for one in kept)}
    good = [case for case in comparison.cases if case.good]
    yield Sketch(
        name=comparison.name("where_the_time_went"),
        title="Where the time of a run went",
        caption="Seconds of a run, means over optimizers, augmentations and seeds. Data wait is "
        "the stall's share of the training clock. Import, first batch and compilation are paid "
        "once a worker and counted in full for each of its runs. Rest is what no part accounts for."
        f"{left_out} {comparison.about(good)}",
        figure=_parts_figure(kept),
        sections=(colour_key("part", used),),
    )


def spent(comparison: Comparison) -> list[Spent]:
    """Net and pipeline to their parts, the longest first."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for case in comparison.cases:
        found[case.cell.architecture, case.cell.pipeline] += case.good
    bars = []
    for (net, pipeline), runs in found.items():
        if runs:
            each = [seconds(run) for run in runs]
            bars.append(
                Spent(
                    label=f"{shown_name(net)} · {shown_name(pipeline)}",
                    runs=len(runs),
                    seconds={p: statistics.fmean(one[p] for one in each) for p in COLOURS},
                )
            )
    return sorted(bars, key=lambda bar: (-bar.total_s, bar.label))


def seconds(run: Record) -> dict[str, float]:
    """The parts of a run; where it paid everything itself they add up to its import and total."""
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
    longest = max(bar.total_s for bar in kept)
    lefts = [0.0] * len(kept)
    for part, color in COLOURS.items():
        values = [bar.seconds[part] for bar in kept]
        axes.barh(range(len(kept)), values, left=lefts, color=color, height=0.78)
        lefts = [left + value for left, value in zip(lefts, values, strict=True)]
    for place, bar in enumerate(kept):
        note = f"{bar.total_s:,.{1 if bar.total_s < 1000 else 0}f} s, {count(bar.runs, 'run')}"
        axes.text(bar.total_s + 0.01 * longest, place, note, va="center", size=6.5)
    name_bars(axes, [bar.label for bar in kept], size=7, end=longest * 1.22, unit="seconds")
    return figure
