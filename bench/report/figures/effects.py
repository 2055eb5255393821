"""Forest plots: the effect of each level of a factor against a reference, with its interval."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.figures import style
from bench.report.figures.comparison import Comparison
from bench.report.figures.style import Outcomes
from bench.report.render import Row
from bench.report.statistics.effects import FACTORS, level_names
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = {
    ACCURACY: "test accuracy (points)",
    SPEED: "images/s (ratio)",
    TIME: "time to accuracy (ratio)",
}
MAX_ROWS = 30
LOOKS: dict[str, dict[str, Any]] = {
    "better": {"color": style.PALETTE[1], "marker": "o"},
    "worse": {"color": style.PALETTE[0], "marker": "o"},
    "cannot tell": {"color": style.GREY, "marker": "o", "markerfacecolor": "none"},
    "too few seeds": {"color": style.GREY, "marker": "x"},
}


def effects(comparison: Comparison, measured: pd.DataFrame) -> Iterator[style.Sketch]:
    """A forest plot for each metric, of the frame of effects between all cells of a group."""
    for metric, label in SHOWN.items():
        found = measured[(measured["metric"] == metric.name) & measured["estimate"].notna()]
        if found.empty:
            continue
        kept = first_significant(found)
        used = {look_of(row, metric) for row in kept}
        yield comparison.sketch(
            f"effects_{metric.name}",
            f"Effects on {metric.label}",
            [
                "Each level against the reference, over cells that differ in nothing else, with "
                "95 % intervals. Filled: significant after Holm's correction over the page.",
                len(kept) < len(found)
                and f"{len(kept)} of {count(len(found), 'effect')}, the significant first.",
            ],
            _figure(kept, metric, label, comparison.outcomes),
            style.Section(
                title="against the reference",
                looks={name: LOOKS[name] | {"linestyle": "none"} for name in LOOKS if name in used},
                gids={},
            ),
            outcomes=comparison.outcomes,
            timed=metric.timing,
        )


def first_significant(found: pd.DataFrame) -> list[Row]:
    """The most significant effects, at most `MAX_ROWS`, sorted by factor and size."""
    p = found["p_adjusted"].fillna(2.0).sort_values(kind="stable")
    kept = found.loc[p.index[:MAX_ROWS]].assign(place=found["factor"].map(FACTORS.index))
    kept = kept.sort_values(["place", "estimate"], ascending=[True, False], kind="stable")
    return kept.to_dict("records")  # type: ignore[return-value]


def look_of(row: Row, metric: Metric) -> str:
    """Whether a level is better or worse than the reference, or why that is not known."""
    if row["verdict"] not in ("higher", "lower"):
        return str(row["verdict"])
    return "better" if (row["verdict"] == "higher") is metric.higher else "worse"


def cells_of(outcomes: Outcomes, row: Row) -> Outcomes:
    """The successful cells of an effect's level."""
    good = [outcome for outcome in outcomes if outcome.good]
    levels = level_names(good, row["factor"])
    return [outcome for outcome in good if levels[outcome.key] == row["level"]]


def _figure(kept: list[Row], metric: Metric, label: str, outcomes: Outcomes) -> "Figure":
    """A row for each level below a heading for each factor."""
    names: list[str] = []
    effects: list[Row | None] = []
    for one in kept:
        heading = f"{one['factor']} vs {style.shown_name(one['reference'])}"
        if heading not in names:
            names.append(heading)
            effects.append(None)
        names.append(style.shown_name(one["level"]))
        effects.append(one)
    notes = ["" if row is None else _note(row, metric) for row in effects]
    gids = [None if row is None else style.gid(cells_of(outcomes, row)) for row in effects]
    width_in = 0.056 * max(map(len, notes)) + 0.064 * max(map(len, names)) + 1.4
    figure, (axes,) = style.canvas(max(3.6, width_in), 0.5 + 0.18 * len(names))
    axes.axvline(1.0 if metric.ratio else 0.0, color=style.FOREGROUND, linewidth=0.8)
    for place, row in enumerate(effects):
        if row is not None:
            look = LOOKS[look_of(row, metric)] | {"gid": gids[place], "markersize": 4.5}
            ends = [row["low"], row["high"]]
            axes.plot(ends, [place, place], **look | {"linewidth": 1.4, "marker": ""})
            axes.plot([row["estimate"]], [place], linestyle="none", **look)
    style.rows(axes, names, notes, gids)
    if metric.ratio:
        style.log_scale(axes.xaxis)
    axes.set_xlabel(style.toward_better(label, higher=metric.higher))
    return figure


def _note(row: Row, metric: Metric) -> str:
    """The estimate with its interval."""
    estimate, low, high = (
        f"{row[name]:{'.2f' if metric.ratio else '+.2f'}}" for name in ("estimate", "low", "high")
    )
    return estimate if pd.isna(row["low"]) else f"{estimate} ({low} to {high})"
