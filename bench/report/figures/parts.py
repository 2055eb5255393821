"""Where the time of a run went, as stacked bars."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report.figures.comparison import Comparison, shown_name
from bench.report.figures.style import PALETTE, Sketch, colour_key, name_bars, new_figure
from bench.wording import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
MOST_BARS = 60


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


def sketches(comparison: Comparison) -> Iterator[Sketch]:
    """The bars of every net and pipeline; nothing where no run ended well."""
    found = spent(comparison)
    if not found:
        return
    kept = found[:MOST_BARS]
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
        figure=_figure(kept),
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


def _figure(kept: Sequence[Spent]) -> "Figure":
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
