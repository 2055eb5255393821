"""Bars: how soon each cell reached the target."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report.columns import TIME
from bench.report.figures import style
from bench.report.figures.comparison import Comparison, levels
from bench.report.figures.style import Outcomes
from bench.report.render import NOT_REACHED
from bench.report.rows import Outcome
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_BARS = 72


def time_to_accuracy(comparison: Comparison) -> Iterator[style.Sketch]:
    """A bar for each cell; nothing without a validation set, or if no cell reached the target."""
    outcomes = [outcome for outcome in comparison.outcomes if outcome.seeks_target]
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
    """Sort key (by time; then missed by some seeds, suspect, missed by all, failed) and a note."""
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
