"""Bars: how soon each cell reached the target, and where the time went."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report.figures import style
from bench.report.figures.comparison import Case, Comparison, gid, levels
from bench.report.render import NOT_REACHED
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BARS = 72
MAX_PART_BARS = 60
BAR_IN = 0.165
BARS_IN = 2.4  # for the bars, at least
PARTS = {
    "import": style.PALETTE[7],
    "load": style.PALETTE[10],
    "build": style.PALETTE[6],
    "first batch": style.PALETTE[4],
    "compile": style.PALETTE[3],
    "capture": style.PALETTE[9],
    "other warm-up": style.PALETTE[8],
    "train": style.PALETTE[1],
    "data wait": style.PALETTE[0],
    "evaluate": style.PALETTE[2],
    "rest": style.PALETTE[11],
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A cell's time to accuracy."""

    case: Case
    times_s: tuple[float, ...]  # of the seeds that reached the target
    rank: tuple[int, float, str]
    note: str  # beside the bar

    @property
    def mean_s(self) -> float:
        """0 if there is no time to draw."""
        return statistics.fmean(self.times_s) if self.times_s else 0.0


def time_to_accuracy(comparison: Comparison) -> Iterator[style.Sketch]:
    """A bar for each cell; nothing without a validation set, or if no cell reached the target."""
    cases = [case for case in comparison.cases if case.cell.holds_out]
    found = bars(cases)
    if len(found) < 2 or not any(bar.times_s for bar in found):
        return
    kept = found[:MAX_BARS]
    missed = sum(not bar.case.reached for bar in found[MAX_BARS:])
    left_out = (
        f"The first {len(kept)} of {count(len(found), 'cell')}; of those left out, {missed} did "
        "not reach the target."
    )
    colours = style.cycle(levels(cases, "optimizer"), style.PALETTE)
    yield comparison.sketch(
        "time_to_accuracy",
        f"Time to {cases[0].cell.target_accuracy:.1%} validation accuracy",
        [
            "Seconds of the training clock, mean over the seeds that reached the target; the pale "
            "part is the first batch and compilation.",
            "Whiskers span the seeds." if any(len(bar.times_s) > 1 for bar in kept) else "",
            left_out if len(kept) < len(found) else "",
        ],
        _times_figure(kept, colours),
        style.colour_key("optimizer", colours),
        cases=cases,
        timed=True,
    )


def bars(cases: Sequence[Case]) -> list[Bar]:
    """By time; then cells of which a seed missed, suspect timings, missed targets and failures."""
    return sorted(map(_bar, cases), key=lambda bar: bar.rank)


def _bar(case: Case) -> Bar:
    times_s = tuple(case.over_seeds("time_to_accuracy_s"))
    accuracy = case.mean("accuracy") or 0.0
    if times_s:
        mean_s = statistics.fmean(times_s)
        order, by = int(case.reached < len(case.good)), mean_s
        notes = [f"{mean_s:,.{2 if mean_s < 10 else 1 if mean_s < 100 else 0}f} s"]
        if case.reached < len(case.runs):
            notes.append(f"{case.reached} of {len(case.runs)} runs")
        if case.suspect:
            notes.append(f"{case.suspect} suspect")
    elif case.reached:
        order, by, notes = 2, -accuracy, ["timing suspect"]
    elif case.good:
        order, by, notes = 3, -accuracy, [f"{NOT_REACHED} (test {accuracy:.1%})"]
    else:
        order, by, notes = 4, 0.0, [str(case.row["status"])]
    return Bar(case=case, times_s=times_s, rank=(order, by, case.label), note=", ".join(notes))


def _times_figure(kept: Sequence[Bar], colours: Mapping[str, str]) -> "Figure":
    label_in, note_in = (
        0.058 * max(map(len, texts))
        for texts in ([bar.case.label for bar in kept], [bar.note for bar in kept])
    )
    figure, (axes,) = style.canvas(max(6.2, label_in + note_in + BARS_IN), 0.6 + BAR_IN * len(kept))
    rows = range(len(kept))
    own = [colours[bar.case.cell.optimizer] for bar in kept]
    whole = [bar.case.mean("time_to_accuracy_with_compile_s") or bar.mean_s for bar in kept]
    pale = axes.barh(rows, whole, color=own, alpha=0.35, height=0.75)
    solid = axes.barh(rows, [bar.mean_s for bar in kept], color=own, height=0.75)
    for row, bar in enumerate(kept):
        mark = gid([bar.case])
        for patch in (pale[row], solid[row]):
            patch.set_gid(mark)
        if len(bar.times_s) > 1:
            ends = [min(bar.times_s), max(bar.times_s)]
            axes.plot(ends, [row, row], color=style.GREY, linewidth=1.2, marker="|", gid=mark)
        style.note_row(axes, row, bar.note, gid=mark, style="normal" if bar.times_s else "italic")
    marks = [gid([bar.case]) for bar in kept]
    style.name_rows(axes, [bar.case.label for bar in kept], marks, size=style.SMALL)
    axes.set_xlim(left=0)
    axes.set_xlabel(style.toward_better("time to accuracy (s)", higher=False))
    return figure


def time_parts(comparison: Comparison) -> Iterator[style.Sketch]:
    """A stacked bar for each net and pipeline; nothing if no run has times to trust."""
    found = spent(comparison.cases)
    if not found:
        return
    kept = dict(list(found.items())[:MAX_PART_BARS])
    every = [run for runs in kept.values() for run in runs]
    used = {part: color for part, color in PARTS.items() if any(run[part] > 0 for run in every)}
    yield comparison.sketch(
        "where_the_time_went",
        "Where the time of a run went",
        [
            "Seconds of a run, means over optimizers, augmentations and seeds. Data wait is the "
            "stall's share of the training clock. Import, first batch and compilation happen once "
            "per worker and are counted in full for each of its runs. Rest is what no part covers.",
            f"The longest {len(kept)} of {len(found)}." if len(kept) < len(found) else "",
        ],
        _parts_figure(kept, comparison.cases),
        style.colour_key("part", used, gids={}),
        cases=[case for case in comparison.cases if case.good],
        timed=True,
    )


def spent(cases: Sequence[Case]) -> dict[str, list[dict[str, float]]]:
    """The parts of each run, by net and pipeline; the longest on average first."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for case in cases:
        if case.trusted:
            found[_fed(case)] += map(seconds, case.trusted)
    return dict(sorted(found.items(), key=lambda item: (-_total_s(item[1]), item[0])))


def _fed(case: Case) -> str:
    return " · ".join(map(style.shown_name, (case.cell.architecture, case.cell.pipeline)))


def _total_s(runs: Sequence[Mapping[str, float]]) -> float:
    return statistics.fmean(sum(run.values()) for run in runs)


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


def _parts_figure(
    kept: Mapping[str, Sequence[Mapping[str, float]]], cases: Sequence[Case]
) -> "Figure":
    figure, (axes,) = style.canvas(6.2, 0.6 + 0.22 * len(kept))
    gids = [gid(case for case in cases if case.trusted and _fed(case) == label) for label in kept]
    lefts = [0.0] * len(kept)
    for part, color in PARTS.items():
        values = [statistics.fmean(run[part] for run in runs) for runs in kept.values()]
        container = axes.barh(range(len(kept)), values, left=lefts, color=color, height=0.78)
        for patch, mark in zip(container, gids, strict=True):
            patch.set_gid(mark)
        lefts = [left + value for left, value in zip(lefts, values, strict=True)]
    for row, runs in enumerate(kept.values()):
        total_s = _total_s(runs)
        digits = 1 if total_s < 1000 else 0
        style.note_row(
            axes, row, f"{total_s:,.{digits}f} s, {count(len(runs), 'run')}", gid=gids[row]
        )
    style.name_rows(axes, list(kept), gids, size=7)
    axes.set_xlim(left=0)
    axes.set_xlabel(style.toward_better("seconds", higher=False))
    return figure
