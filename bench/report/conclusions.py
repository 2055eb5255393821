"""Conclusions from the records, in sentences; only statistically significant claims are made."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report.caveats import caveats
from bench.report.columns import ACCURACY, METRICS, TIME, Metric
from bench.report.rows import MODEL_BOUND_PCT, PIPELINE_BOUND_PCT, Outcome, bound_by
from bench.report.statistics.effects import TOO_FEW, UNCERTAIN, effects
from bench.report.statistics.intervals import SEEDS_NEEDED, detectable
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    Best,
    Outcomes,
    best,
    outcomes_by_group,
    ranking_groups,
)
from bench.text import code, count, listed, points

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("best", "effects", "pipelines", "cannot tell", "caveats")
HEAT_MAPS = {"architecture": "optimizer", "optimizer": "optimizer", "augmentation": "augmentation"}
PIPELINES = ("pipelines_throughput",)
Row = dict[Any, Any]  # a row of `effects`


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """One conclusion."""

    kind: str  # the section it belongs to
    text: str  # one or more plain sentences, names between backticks
    figures: tuple[str, ...] = ()  # names of figures that show it


def conclude(records: Sequence[Record], measured: "pd.DataFrame | None" = None) -> list[Conclusion]:
    """The conclusions from the records of a page, by section.

    Each group of machine, scale and source is treated separately, and named if there are several.

    Args:
        measured: The records' effects, if they were computed before.
    """
    groups = outcomes_by_group(records)
    if not groups:
        return [Conclusion(kind="caveats", text="There are no records to draw conclusions from.")]
    frame = effects(records) if measured is None else measured
    rows: list[Row] = [dict(row) for row in frame.to_dict("records")]
    found: list[Conclusion] = []
    for name, outcomes in groups.items():
        prefix = f"{', '.join(filter(None, name))}: " if len(groups) > 1 else ""
        own = [row for row in rows if (row["machine"], row["scale"], row["source"]) == name]
        found += [replace(one, text=prefix + one.text) for one in _of_group(outcomes, own)]
    tested = int(frame["p"].notna().sum())
    if tested:
        text = (
            "An effect is the mean over matched cells, those of one net averaged first. Verdicts "
            f"use Holm's correction over the {count(tested, 'effect')} of this page; each interval "
            "is of its effect alone."
        )
        found.append(Conclusion(kind="caveats", text=text))
    return sorted(found, key=lambda one: KINDS.index(one.kind))


def _of_group(outcomes: Outcomes, rows: Sequence[Row]) -> Iterator[Conclusion]:
    good = [outcome for outcome in outcomes if outcome.good]
    if not good:
        runs = count(sum(len(outcome.runs) for outcome in outcomes), "run")
        text = f"None of {runs} succeeded: there is nothing to compare."
        yield Conclusion(kind="best", text=text)
    for metric in EFFECT_METRICS:
        for words, group in ranking_groups(good, metric):
            text = _best_text(group, metric)
            if text:
                prefix = f"With {words}: " if words else ""
                figures = _figures(metric.name, "architecture")
                yield Conclusion(kind="best", text=prefix + text, figures=figures)
    yield from _effects(rows)
    yield from _pipelines(good)
    for text in _seed_texts(good):
        figures = _figures(ACCURACY.name, "architecture")
        yield Conclusion(kind="cannot tell", text=text, figures=figures)
    yield from _unknown(rows)
    for text in caveats(outcomes):
        yield Conclusion(kind="caveats", text=text)


def _figures(metric: str, factor: str) -> tuple[str, ...]:
    """Names of the figures that show a metric by a factor."""
    if factor == "pipeline":
        return PIPELINES
    if factor == "epochs":
        return ("curves_accuracy_epochs",)
    bars = ("time_to_accuracy",) if metric == TIME.name else ()
    return (*bars, f"{metric}_architecture_{HEAT_MAPS[factor]}")


def _figures_of(rows: Sequence[Row]) -> tuple[str, ...]:
    names = (name for row in rows for name in _figures(row["metric"], row["factor"]))
    return tuple(dict.fromkeys(names))


def _best_text(outcomes: Outcomes, metric: Metric) -> str:
    found = best(outcomes, metric)
    if found is None:
        return _no_time_text(outcomes) if metric is TIME else ""
    head = (
        f"Best {metric.label}: {code(found.outcome.label)} with {_value(found.value, metric)} "
        f"({count(found.seeds, 'seed')})."
    )
    if not found.others:
        return f"{head} It is the only cell with this metric."
    text = "; ".join(_comparisons(found))
    return f"{head} {text[0].upper()}{text[1:]}."


def _comparisons(found: Best) -> Iterator[str]:
    """How the other cells compare with the best, by group."""
    if found.tied:
        cells = count(len(found.tied), "other cell")
        verb = "is" if len(found.tied) == 1 else "are"
        yield f"{cells} {verb} statistically tied with it: {listed(found.tied)}"
    elif found.worse:
        yield "no other cell is statistically tied with it"
    if found.worse:
        verb = "is" if len(found.worse) == 1 else "are"
        yield f"{len(found.worse)} {verb} worse (Welch's test, Tamhane's correction for all pairs)"
    if found.missed:
        of_all = f"{len(found.missed)} of {count(found.others, 'other cell')}"
        yield f"{of_all} missed the target with every seed, which counts as worse"
    if found.partly:
        of_all = f"{len(found.partly)} of {count(found.others, 'other cell')}"
        yield f"{of_all} missed the target with some seeds and cannot be compared"
    if found.too_few:
        few = len(found.too_few)
        others = "the other cells" if few == found.others else f"{few} of {found.others} others"
        seeds = f"too few seeds{' with trusted timings' if found.metric.timing else ''}"
        text = f"{seeds} to compare it with {others} ({SEEDS_NEEDED} on each side are needed)"
        if found.margin is not None:
            text += (
                f", {found.near} of which are within {found.margin:.1f} points, the 95 % sampling "
                f"error of an accuracy on {found.test_images:,} test images"
            )
        yield text


def _no_time_text(outcomes: Outcomes) -> str:
    if not any(outcome.with_target for outcome in outcomes):
        return ""
    target = f"the target of {100 * outcomes[0].cell.target_accuracy:g} %"
    reached = sum(0 < one.with_target == one.reached == len(one.runs) for one in outcomes)
    text = f"{count(reached, 'cell') if reached else 'No cell'} reached {target} with every seed"
    return f"{text}, but with suspect timings." if reached else f"{text}."


def _effects(rows: Sequence[Row]) -> Iterator[Conclusion]:
    """The significant effects, a sentence for each level."""
    levels: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["verdict"] in ("higher", "lower"):
            levels[row["factor"], row["level"]].append(row)
    for found in levels.values():
        text = f"{_against(found[0])}: {'; '.join(map(_effect_text, found))}."
        yield Conclusion(kind="effects", text=text, figures=_figures_of(found))


def _effect_text(row: Row) -> str:
    metric, verdict = METRICS[row["metric"]], row["verdict"]
    if metric is TIME:
        verdict = "longer" if verdict == "higher" else "shorter"
    known = not math.isnan(row["estimate"])
    unit = "\u00d7" if metric.ratio else " points"
    amount = f", {_numbers(metric, row['estimate'])[0]}{unit}" if known else ""
    basis = f"{row['over']}, {count(row['cells'], 'matched cell')}"
    if not math.isnan(row["low"]):
        _, low, high = _numbers(metric, row["estimate"], row["low"], row["high"])
        basis = f"95 % CI {low} to {high}{unit}, {basis}"
    if metric is TIME and row["reached"] + row["reference_reached"] < (
        row["runs"] + row["reference_runs"]
    ):
        basis += (
            f"; {row['reached']} of {count(row['runs'], 'run')} reached the target, with "
            f"{code(row['reference'])} {row['reference_reached']} of {row['reference_runs']}; a "
            "miss counts as longer than any time"
        )
    return f"{metric.label} {verdict}{amount} ({basis})"


def _numbers(metric: Metric, *values: float) -> list[str]:
    """Points, or ratios, with a third digit where two would show 1.00."""
    if not metric.ratio:
        return [points(value) for value in values]
    digits = 3 if any(f"{value:.2f}" == "1.00" for value in values) else 2
    return [f"{value:,.{0 if value >= 100 else digits}f}" for value in values]


def _unknown(rows: Sequence[Row]) -> Iterator[Conclusion]:
    """The other effects, a sentence for all that share a reason and metrics."""
    metrics: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["verdict"] in (TOO_FEW, UNCERTAIN):
            why = row["verdict"] if row["cells"] else f"no two cells differ only in {row['factor']}"
            metrics[row["factor"], row["level"], why].append(row)
    alike: dict[tuple[str, tuple[str, ...]], list[list[Row]]] = defaultdict(list)
    for (*_, why), found in metrics.items():
        alike[why, tuple(METRICS[row["metric"]].label for row in found)].append(found)
    for (why, labels), levels in alike.items():
        names = ", ".join(_against(found[0]) for found in levels)
        text = f"{', '.join(labels)}: {why} for {names}."
        figures = _figures_of([row for found in levels for row in found])
        yield Conclusion(kind="cannot tell", text=text[0].upper() + text[1:], figures=figures)


def _pipelines(good: Outcomes) -> Iterator[Conclusion]:
    """How long training waited for data, in total and by pipeline."""
    stalls: dict[str, list[tuple[float, Outcome[Record]]]] = defaultdict(list)
    for outcome in sorted(good, key=lambda outcome: outcome.cell.pipeline):
        percent = outcome.mean("stall_pct")
        if percent is not None:
            stalls[outcome.cell.pipeline].append((percent, outcome))
    cells = [cell for each in stalls.values() for cell in each]
    if not cells:
        return
    bound = [outcome.label for percent, outcome in cells if bound_by(percent) == "pipeline"]
    text = (
        f"{len(bound)} of {count(len(cells), 'cell')} limited by the pipeline: waiting for data "
        f"for {PIPELINE_BOUND_PCT:.0f} % of training time or more"
        + (f" ({listed(bound)})." if bound else ".")
    )
    lowest = min(percent for percent, _ in cells)
    if lowest < 0:
        text += (
            f" The lowest stall is {lowest:.1f} %: faster than the ceiling, so differences this "
            "small are noise."
        )
    yield Conclusion(kind="pipelines", text=text, figures=PIPELINES)
    for pipeline, each in stalls.items():
        worst, label = max((percent, outcome.label) for percent, outcome in each)
        limited = sum(percent >= MODEL_BOUND_PCT for percent, _ in each)
        text = (
            f"{code(pipeline)}: training waited for data for "
            f"{statistics.median(percent for percent, _ in each):.1f} % of its time (median of "
            f"{count(len(each), 'cell')}), most in {code(label)} ({worst:.1f} %); {limited} waited "
            f"for {MODEL_BOUND_PCT:.0f} % or more."
        )
        yield Conclusion(kind="pipelines", text=text, figures=PIPELINES)


def _seed_texts(good: Outcomes) -> Iterator[str]:
    """How large a difference between cells must be, given the variation between seeds."""
    if not good:
        return
    enough = sum(len(outcome.good) >= SEEDS_NEEDED for outcome in good)
    if enough < 2:
        yield (
            f"{'One cell has' if enough else 'No cell has'} {SEEDS_NEEDED} seeds or more, so no "
            f"two cells can be distinguished; `--seeds {SEEDS_NEEDED}` trains what is missing."
        )
    repeated = [outcome.values(ACCURACY) for outcome in good if len(outcome.good) > 1]
    if not repeated:
        return
    freedom = sum(len(values) - 1 for values in repeated)
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in repeated)
    deviation = math.sqrt(squares / freedom)
    text = (
        f"The accuracy of one cell varies between seeds by {deviation:.2f} points (standard "
        f"deviation over {count(len(repeated), 'cell')} with two seeds or more)"
    )
    usual = statistics.median_low([len(values) for values in repeated])
    if usual >= SEEDS_NEEDED and enough > 1:
        least = detectable(deviation, seeds=usual, cells=enough)
        text += (
            f"; with {usual} seeds, differences from the best of {enough} cells are detectable "
            f"from {least:.2f} points"
        )
    yield f"{text}."


def _against(row: Row) -> str:
    return f"{code(row['level'])} instead of {code(row['reference'])}"


def _value(value: float, metric: Metric) -> str:
    if metric.kind == "score":
        return f"{value:.2f} %"
    return f"{value:.1f} s" if metric is TIME else f"{value:,.0f} images/s"
