"""What the records say, in plain sentences: what a reader would conclude from the matrix.

Nothing is claimed that chance alone could explain: if an interval includes "no difference", or if
there are too few seeds, the sentence says "cannot tell".
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.record import Record
from bench.report.caveats import caveats
from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.rows import MODEL_BOUND_PCT, PIPELINE_BOUND_PCT, Outcome, bound_by
from bench.report.statistics.effects import (
    CELLS_NEEDED,
    CellByCell,
    Effect,
    Interaction,
    cell_by_cell,
    effects,
    interactions,
)
from bench.report.statistics.intervals import ALPHA, LEVEL, SEEDS_NEEDED, Interval
from bench.report.statistics.outcomes import (
    EFFECT_METRICS,
    Best,
    Matched,
    Outcomes,
    best,
    matches,
    outcomes_by_group,
    ranking_groups,
)
from bench.text import code, count, listed, points

KINDS = (
    "best", "effects", "interactions", "longer budgets", "pipelines", "cannot tell", "caveats",
)  # fmt: skip
MAX_NAMES = 6
MAX_EFFECTS = 8
MAX_NETS = 3
HEAT_MAPS = {"architecture": "optimizer", "optimizer": "optimizer", "augmentation": "augmentation"}
PIPELINES = ("pipelines_throughput",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """One thing that the records say.

    Args:
        kind: The section it belongs to: "best", "effects", ...
        text: One or more plain sentences, names between backticks.
        figures: Names of the figures that show it.
    """

    kind: str
    text: str
    figures: tuple[str, ...] = ()


def conclude(records: Sequence[Record]) -> list[Conclusion]:
    """The conclusions from the records of a group, by section; any order of the records will do.

    Each machine, scale and source is treated separately; if there are several, each sentence begins
    with its own.
    """
    groups = outcomes_by_group(records)
    if not groups:
        return [Conclusion(kind="caveats", text="There are no records to draw conclusions from.")]
    found: list[Conclusion] = []
    for name, outcomes in groups.items():
        prefix = f"{', '.join(filter(None, name))}: " if len(groups) > 1 else ""
        found += [replace(one, text=prefix + one.text) for one in _of_group(outcomes)]
    return sorted(found, key=lambda one: KINDS.index(one.kind))


def markdown(conclusions: Sequence[Conclusion]) -> str:
    """The conclusions as Markdown: a list under a bold line for each section."""
    parts = []
    for kind in KINDS:
        texts = [one.text for one in conclusions if one.kind == kind]
        if texts:
            lines = "\n".join(f"- {_escaped(text)}" for text in texts)
            parts.append(f"**{kind[0].upper()}{kind[1:]}**\n\n{lines}\n")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    """Escapes what is not between backticks, so that no name makes HTML or bold text."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def _of_group(outcomes: Outcomes) -> Iterator[Conclusion]:
    good = [outcome for outcome in outcomes if outcome.good]
    if not good:
        runs = sum(len(outcome.runs) for outcome in outcomes)
        yield Conclusion(
            kind="best",
            text=f"None of {count(runs, 'run')} ended well: there is nothing to compare.",
        )
    matched = matches(good)
    measured = {one.factor: effects(one) for one in matched}
    every = [one for levels in measured.values() for level in levels.values() for one in level]
    yield from _best(good)
    for one in matched:
        yield from _effects(one, measured[one.factor])
        yield from _interactions(one)
    yield from _best_by_budget(good)
    yield from _pipelines(good)
    yield from _cannot_tell(good, matched, every)
    intervals = sum(one.enough and one.interval is not None for one in every)
    for text in caveats(outcomes, intervals):
        yield Conclusion(kind="caveats", text=text)


def _figures(metric: Metric, factor: str) -> tuple[str, ...]:
    """Names of the figures that show a metric by a factor."""
    if factor == "pipeline":
        return PIPELINES
    if factor == "epochs":
        return ("curves_accuracy_epochs",)
    bars = ("time_to_accuracy",) if metric is TIME else ()
    return (*bars, f"{metric.name}_architecture_{HEAT_MAPS[factor]}")


def _figures_of(found: Iterable[Effect]) -> tuple[str, ...]:
    names = (name for one in found for name in _figures(one.metric, one.factor))
    return tuple(dict.fromkeys(names))


def _best(good: Outcomes) -> Iterator[Conclusion]:
    for words, outcomes in ranking_groups(good).items():
        prefix = f"With {words}: " if words else ""
        for metric in EFFECT_METRICS:
            found = best(outcomes, metric)
            if found is not None:
                text, figures = _best_text(found), _figures(metric, "architecture")
            elif metric is TIME and any(outcome.with_target for outcome in outcomes):
                text, figures = _no_time_text(outcomes), ("time_to_accuracy",)
            else:
                continue
            yield Conclusion(kind="best", text=prefix + text, figures=figures)


def _best_text(found: Best) -> str:
    head = (
        f"Best {found.metric.label}: {code(found.outcome.label)} with "
        f"{_value(found.value, found.metric)} ({count(found.seeds, 'seed')})."
    )
    if not found.others:
        return f"{head} It is the only cell with this metric."
    parts = []
    if found.worse or found.tied:
        tied = len(found.tied)
        verb = "is" if tied <= 1 else "are"
        parts.append(
            f"{count(tied, 'other cell') if tied else 'no other cell'} {verb} statistically tied "
            f"with it" + (f": {listed(found.tied)}" if tied else "")
        )
        verb = "is" if found.worse == 1 else "are"
        parts.append(f"{found.worse:,} {verb} worse (Welch's test, Holm's correction)")
    if found.too_few:
        which = (
            f"the other {count(found.others, 'cell')}"
            if found.too_few == found.others
            else f"{found.too_few} of {found.others} others"
        )
        text = f"too few seeds to compare it with {which} ({SEEDS_NEEDED} on each side are needed)"
        if found.margin is not None:
            text += (
                f", {found.near} of which are within {found.margin:.1f} points, the 95 % sampling "
                f"error of an accuracy on {found.test_images:,} test images"
            )
        parts.append(text)
    if found.missed:
        parts.append(f"{found.missed} others missed the target with at least one seed")
    text = "; ".join(parts)
    return f"{head} {text[0].upper()}{text[1:]}."


def _no_time_text(outcomes: Outcomes) -> str:
    target = f"the target of {100 * outcomes[0].cell.target_accuracy:g} %"
    reached = sum(one.reached == len(one.runs) for one in outcomes)
    if not reached:
        return f"No cell reached {target} with all of its seeds."
    return (
        f"No best time to accuracy: {count(reached, 'cell')} reached {target} with all of "
        f"{'its' if reached == 1 else 'their'} seeds, but with suspect timings."
    )


def _effects(matched: Matched, measured: dict[str, list[Effect]]) -> Iterator[Conclusion]:
    kind = "longer budgets" if matched.factor == "epochs" else "effects"
    unmatched = [level for level, found in measured.items() if not found]
    if unmatched:
        each = ", each" if len(unmatched) > 1 else ""
        text = (
            f"{listed(unmatched)}{each} instead of {code(matched.reference)}: cannot "
            f"tell, no two cells differ only in the {matched.factor}."
        )
        yield Conclusion(kind=kind, text=text)
    for level, found in measured.items():
        if found and not any(one.enough for one in found):
            figures = _figures(ACCURACY, matched.factor)
            yield Conclusion(kind=kind, text=_too_few_text(found), figures=figures)
            continue
        for timing in (False, True):
            parts = [one for one in found if one.metric.timing is timing]
            if parts:
                what = _against(level, matched.reference)
                text = f"{what}, {'; '.join(map(_effect_text, parts))}."
                yield Conclusion(kind=kind, text=text, figures=_figures_of(parts))


def _effect_text(one: Effect) -> str:
    cells = count(one.both, "matched cell")
    if one.metric is TIME:
        cells += " in which both sides reached the target"
    basis = f"{cells}, no interval"
    if one.interval is not None:
        over = f"over {cells}" if one.over == "matched cells" else f"over seeds of {cells}"
        basis = f"{_bounds(one.interval, one.metric)} {over}"
    if one.metric is TIME:
        basis += f"; {_reached_text(one, 'it')}"
    amount = "" if one.estimate is None else f", {_amount(one.estimate, one.metric)}"
    return f"{one.metric.label}: {_verdict(one)}{amount} ({basis})"


def _verdict(one: Effect) -> str:
    if one.side == 0:
        return "cannot tell" if one.enough else "cannot tell (too few seeds)"
    if one.metric is TIME:
        return "longer" if one.side > 0 else "shorter"
    return "higher" if one.side > 0 else "lower"


def _too_few_text(found: Sequence[Effect]) -> str:
    cells = max(one.cells for one in found)
    seen = [
        f"{one.metric.label} {_amount(one.estimate, one.metric)}"
        for one in found
        if one.estimate is not None
    ]
    missed = [one for one in found if one.metric is TIME and sum(one.reached) < sum(one.runs)]
    seen += [_reached_text(one, "the target") for one in missed]
    return (
        f"{_against(found[0].level, found[0].reference)}: cannot tell, too few seeds "
        f"({count(cells, 'matched cell')}; {CELLS_NEEDED} matched cells or {SEEDS_NEEDED} seeds on "
        f"each side are needed). Observed: {', '.join(seen) or 'nothing'}."
    )


def _reached_text(one: Effect, target: str) -> str:
    level, reference = one.reached
    text = (
        f"{level} of {count(one.runs[0], 'run')} reached {target}, with {code(one.reference)} "
        f"{reference} of {one.runs[1]}"
    )
    missed = (one.runs[0] - level) + (one.runs[1] - reference)
    return text + ("; a miss counts as longer than any time" if missed else "")


def _interactions(matched: Matched) -> Iterator[Conclusion]:
    if matched.factor not in ("optimizer", "augmentation", "epochs"):
        return
    kind = "longer budgets" if matched.factor == "epochs" else "interactions"
    for one in interactions(matched):
        figures = _figures(ACCURACY, matched.factor)
        yield Conclusion(kind=kind, text=_interaction_text(one), figures=figures)


def _interaction_text(one: Interaction) -> str:
    what = f"{_against(one.level, one.reference)} on accuracy"
    nets = [name for name, _ in one.nets]
    if one.between is None:
        number = sum(number for _, number in one.nets)
        return (
            f"Cannot tell whether the effect of {what} depends on the net: too few seeds "
            f"({count(number, 'matched cell')} of {len(nets)} nets)."
        )
    parts = dict(zip(nets, one.between.parts, strict=True))
    order = sorted(parts, key=lambda name: (-parts[name].middle, name))
    p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.2g}"
    if one.p >= ALPHA:
        most, least = order[0], order[-1]
        return (
            f"Cannot tell whether the effect of {what} depends on the net ({p}): it ranges from "
            f"{points(parts[least].middle)} points ({code(least)}) to "
            f"{points(parts[most].middle)} ({code(most)})."
        )
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for name in order:
        sides[parts[name].side()].append(name)
    groups = (("higher", sides[1]), ("lower", sides[-1][::-1]), ("cannot tell", sides[0]))
    cells = dict(one.nets)
    texts = [f"{word} for {_nets_text(names, parts, cells)}" for word, names in groups if names]
    return (
        f"The effect of {what} depends on the net ({p}): {'; '.join(texts)}. These are "
        "simultaneous 95 % CIs."
    )


def _nets_text(names: Sequence[str], parts: dict[str, Interval], cells: dict[str, int]) -> str:
    texts = [
        f"{code(name)} ({points(parts[name].middle)} points, {points(parts[name].low)} to "
        f"{points(parts[name].high)}, {count(cells[name], 'cell')})"
        for name in names[:MAX_NAMES]
    ]
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(texts) + rest


def _best_by_budget(good: Outcomes) -> Iterator[Conclusion]:
    for words, outcomes in ranking_groups(good).items():
        budgets: dict[int, list[Outcome[Record]]] = {}
        for outcome in sorted(outcomes, key=lambda outcome: outcome.cell.epochs):
            budgets.setdefault(outcome.cell.epochs, []).append(outcome)
        found = {epochs: best(cells, ACCURACY) for epochs, cells in budgets.items()}
        texts = [
            f"{code(one.outcome.cell.name)} after {count(epochs, 'epoch')} ({one.value:.2f} %, "
            f"{count(one.seeds, 'seed')}, the best of {count(one.others + 1, 'cell')})"
            for epochs, one in found.items()
            if one is not None
        ]
        if len(texts) > 1:
            prefix = f"With {words}: " if words else ""
            yield Conclusion(
                kind="longer budgets",
                text=f"{prefix}Highest accuracy by budget: {', '.join(texts)}.",
                figures=_figures(ACCURACY, "epochs"),
            )


Stalls = list[tuple[Outcome[Record], float]]  # cells with percent of training time


def stalls(outcomes: Outcomes) -> dict[str, Stalls]:
    """How long the cells of each pipeline waited for data, without suspect timings."""
    found: dict[str, Stalls] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda outcome: outcome.cell.pipeline):
        percents = [
            run.throughput.stall_pct
            for run in outcome.trusted
            if run.throughput and run.throughput.stall_pct is not None
        ]
        if percents:
            found[outcome.cell.pipeline].append((outcome, statistics.fmean(percents)))
    return found


def _pipelines(good: Outcomes) -> Iterator[Conclusion]:
    found = stalls(good)
    texts = [stall_summary([stall for each in found.values() for stall in each])] if found else []
    for text in [*texts, *(stall_text(pipeline, each) for pipeline, each in found.items())]:
        yield Conclusion(kind="pipelines", text=text, figures=PIPELINES)


def stall_summary(cells: Stalls) -> str:
    """Which cells are bound by their pipeline, and how much noise there is in a stall."""
    bound = [outcome.label for outcome, percent in cells if bound_by(percent) == "pipeline"]
    lowest = min(percent for _, percent in cells)
    verb = "is" if len(bound) == 1 else "are"
    text = (
        f"{len(bound)} of {count(len(cells), 'cell')} {verb} bound by the "
        f"pipeline (waiting for data for {PIPELINE_BOUND_PCT:.0f} % of training time or more)"
        + (f": {listed(bound)}." if bound else ".")
    )
    if lowest < 0:
        text += (
            f" The lowest stall is {lowest:.1f} %: faster than the ceiling, so differences this "
            "small are noise."
        )
    return text


def stall_text(pipeline: str, cells: Stalls) -> str:
    """How long training waited for a pipeline, and where most."""
    nets = sorted({outcome.cell.architecture for outcome, _ in cells})
    which = f"{len(nets)} nets" if len(nets) > MAX_NETS else listed(nets)
    worst, label = max((percent, outcome.label) for outcome, percent in cells)
    text = f"{worst:.1f} % of its time in the only cell, {code(label)}"
    if len(cells) > 1:
        text = (
            f"{statistics.median(percent for _, percent in cells):.1f} % of its time in the median "
            f"of {len(cells)} cells, most in {code(label)} ({worst:.1f} %)"
        )
    bound = Counter(bound_by(percent) for _, percent in cells)
    return (
        f"{code(pipeline)} with {which}: training waited for data for {text}; {bound['pipeline']} "
        f"bound by the pipeline, {bound['both']} by both, {bound['model']} by the model (under "
        f"{MODEL_BOUND_PCT:.0f} %)."
    )


def _cannot_tell(
    good: Outcomes, matched: Sequence[Matched], every: Sequence[Effect]
) -> Iterator[Conclusion]:
    for text in _seed_texts(good):
        figures = _figures(ACCURACY, "architecture")
        yield Conclusion(kind="cannot tell", text=text, figures=figures)
    for one in matched:
        metric = SPEED if one.factor == "pipeline" else ACCURACY
        for level in one.pairs:
            cells = cell_by_cell(one, level, metric)
            if cells.higher or cells.lower or cells.undecided:
                yield Conclusion(
                    kind="cannot tell" if cells.undecided else "effects",
                    text=_cell_by_cell_text(cells, _against(level, one.reference), metric),
                    figures=_figures(metric, one.factor),
                )
    for metric in EFFECT_METRICS:
        unknown = [one for one in every if one.metric is metric and one.side == 0]
        if unknown:
            names = [_against(one.level, one.reference) for one in unknown]
            more = len(names) - MAX_EFFECTS
            text = (
                f"Cannot tell an average effect on {metric.label}: "
                f"{', '.join(names[:MAX_EFFECTS])}{f' and {more} more' if more > 0 else ''}."
            )
            yield Conclusion(kind="cannot tell", text=text, figures=_figures_of(unknown))


def _cell_by_cell_text(cells: CellByCell, what: str, metric: Metric) -> str:
    groups = {"higher": cells.higher, "lower": cells.lower, "cannot tell": cells.undecided}
    sizes = [len(names) for names in groups.values()]
    parts = [
        f"{word} in {len(names)}" + (f" ({listed(names)})" if 0 < len(names) < max(sizes) else "")
        for word, names in groups.items()
    ]
    few = f"; too few seeds in {cells.too_few} more" if cells.too_few else ""
    return (
        f"{what}, {metric.label} in each of {count(sum(sizes), 'matched cell')} (Welch's test, "
        f"Holm's correction): {', '.join(parts)}{few}."
    )


def _seed_texts(good: Outcomes) -> Iterator[str]:
    """How far apart two cells must be, given how far apart the seeds of one cell are."""
    if not good:
        return
    seeds = [len(outcome.good) for outcome in good]
    enough = sum(number >= SEEDS_NEEDED for number in seeds)
    if enough < 2:
        yield (
            f"{'One cell has' if enough else 'No cell has'} {SEEDS_NEEDED} seeds or more (most "
            f"have {statistics.mode(sorted(seeds))}), so the seeds alone distinguish no two cells; "
            f"`--seeds {SEEDS_NEEDED}` trains what is missing."
        )
    repeated = [outcome.values(ACCURACY) for outcome in good if len(outcome.good) > 1]
    if not repeated:
        return
    freedom = sum(len(values) - 1 for values in repeated)
    pooled = math.sqrt(
        sum(statistics.variance(values) * (len(values) - 1) for values in repeated) / freedom
    )
    text = (
        f"The accuracy of one cell varies between seeds by {pooled:.2f} points (standard deviation "
        f"over {count(len(repeated), 'cell')} with two seeds or more)"
    )
    usual = statistics.median_low([len(values) for values in repeated])
    if usual >= SEEDS_NEEDED:
        from scipy.stats import t

        quantile = float(t.ppf((1 + LEVEL) / 2, 2 * usual - 2))
        text += (
            f"; a difference between two cells of {usual} seeds is detectable from "
            f"{quantile * pooled * math.sqrt(2 / usual):.2f} points"
        )
    yield f"{text}."


def _against(level: str, reference: str) -> str:
    return f"{code(level)} instead of {code(reference)}"


def _value(value: float, metric: Metric) -> str:
    if metric.kind == "score":
        return f"{value:.2f} %"
    return f"{value:.1f} s" if metric is TIME else f"{value:,.0f} images/s"


def _amount(estimate: float, metric: Metric) -> str:
    return f"{_ratios(estimate)[0]}\u00d7" if metric.ratio else f"{points(estimate)} points"


def _bounds(interval: Interval, metric: Metric) -> str:
    if metric.ratio:
        _, low, high = _ratios(interval.middle, interval.low, interval.high)
    else:
        low, high = points(interval.low), points(interval.high)
    return f"95 % CI {low} to {high}"


def _ratios(*values: float) -> list[str]:
    """Ratios, with a third digit if two would hide on which side of 1 a value is."""
    digits = 3 if any(f"{value:.2f}" == "1.00" for value in values) else 2
    return [f"{value:,.0f}" if value >= 100 else f"{value:.{digits}f}" for value in values]
