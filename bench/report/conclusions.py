"""What the records say, in plain sentences: what a reader would argue from the matrix.

Nothing is claimed that chance alone would do: where an interval includes "no difference", or there
are too few seeds, the sentence says "cannot tell".

Which pipelines hold training up: the share of time that the ceiling would not need.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.report import caveats, sentences
from bench.report.matrix import MODEL_BOUND_PCT, PIPELINE_BOUND_PCT, bound_by
from bench.report.sentences import Conclusion, against, code, listed
from bench.report.statistics import outcomes as ranking
from bench.report.statistics.effects import Effect, cell_by_cell, effects, interactions
from bench.report.statistics.intervals import LEVEL
from bench.report.statistics.outcomes import (
    ACCURACY,
    METRICS,
    SEEDS_NEEDED,
    SPEED,
    TIME,
    Matched,
    Metric,
    Outcome,
    matches,
    outcomes_by_group,
)
from bench.text import count

MOST_NETS = 3


@dataclass(frozen=True, kw_only=True)
class Stall:
    """What a pipeline's cells waited.

    Args:
        nets: Those it was measured with.
        stalls: Percent of the training time, by the cell's label; the mean over its seeds.
    """

    pipeline: str
    nets: tuple[str, ...]
    stalls: tuple[tuple[str, float], ...]

    @property
    def worst(self) -> tuple[str, float]:
        """The cell that waited longest."""
        return max(self.stalls, key=lambda stall: (stall[1], stall[0]))

    def bound(self, by: str) -> int:
        """Cells whose throughput is bound by "model", "pipeline" or "both"."""
        return sum(bound_by(percent) == by for _, percent in self.stalls)


def stalls(outcomes: Sequence[Outcome]) -> list[Stall]:
    """Those of each pipeline, without runs whose timing is suspect."""
    found: dict[str, list[tuple[Outcome, float]]] = defaultdict(list)
    for outcome in outcomes:
        shares = [
            run.throughput.stall_pct
            for run in outcome.trusted
            if run.throughput and run.throughput.stall_pct is not None
        ]
        if shares:
            found[outcome.cell.pipeline].append((outcome, statistics.fmean(shares)))
    return [
        Stall(
            pipeline=pipeline,
            nets=tuple(sorted({outcome.cell.architecture for outcome, _ in found[pipeline]})),
            stalls=tuple((outcome.label, share) for outcome, share in found[pipeline]),
        )
        for pipeline in sorted(found)
    ]


def summary(found: Sequence[Stall]) -> str:
    """Which cells are bound by their pipeline, and how much noise there is in a stall."""
    cells = [stall for one in found for stall in one.stalls]
    bound = [label for label, share in cells if bound_by(share) == "pipeline"]
    lowest = min(share for _, share in cells)
    text = (
        f"{len(bound)} of {count(len(cells), 'cell')} bound by the pipeline (it takes "
        f"{PIPELINE_BOUND_PCT:.0f} % of the training time or more)"
        + (f": {listed(bound)}." if bound else ".")
    )
    if lowest < 0:
        text += (
            f" The lowest stall is {lowest:.1f} %, training quicker than its ceiling: so much is "
            "noise here."
        )
    return text


def sentence(stall: Stall) -> str:
    """What a pipeline cost, and where most."""
    shares = [share for _, share in stall.stalls]
    label, worst = stall.worst
    nets = listed(stall.nets) if len(stall.nets) <= MOST_NETS else f"{len(stall.nets)} nets"
    head = f"{code(stall.pipeline)} with {nets}: "
    if len(shares) == 1:
        share = f"training waited {worst:.1f} % of its time in the only cell, {code(label)}"
    else:
        share = (
            f"training waited {statistics.median(shares):.1f} % of its time in the median of "
            f"{len(shares)} cells, most in {code(label)} ({worst:.1f} %)"
        )
    return (
        f"{head}{share}; {stall.bound('pipeline')} bound by the pipeline, {stall.bound('both')} by "
        f"both, {stall.bound('model')} by the model (under {MODEL_BOUND_PCT:.0f} %)."
    )


KINDS = (
    "best",
    "effects",
    "interactions",
    "longer budgets",
    "pipelines",
    "cannot tell",
    "caveats",
)
MOST_EFFECTS = 8
HEAT_MAPS = {"architecture": "optimizer", "optimizer": "optimizer", "augmentation": "augmentation"}
PIPELINES = ("pipelines_throughput",)


def conclude(records: Sequence[Record]) -> list[Conclusion]:
    """What the records of a group say, section by section; the same for any order of them.

    Records of several machines, scales or sources are concluded from apart, and each sentence then
    begins with its group.
    """
    groups = outcomes_by_group(records)
    if not groups:
        return [
            Conclusion(kind="caveats", text="There are no records to conclude from.", figures=())
        ]
    found: list[Conclusion] = []
    for name, outcomes in groups.items():
        prefix = f"{', '.join(filter(None, name))}: " if len(groups) > 1 else ""
        said = _of_group(outcomes)
        found += [
            Conclusion(kind=one.kind, text=prefix + one.text, figures=one.figures) for one in said
        ]
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
    """What is between backticks stays as it is; no name of an entry can end in HTML."""
    parts = text.split("`")
    plain = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts)


def _of_group(outcomes: Sequence[Outcome]) -> Iterator[Conclusion]:
    good = [outcome for outcome in outcomes if outcome.good]
    if not good:
        runs = sum(len(outcome.runs) for outcome in outcomes)
        yield Conclusion(
            kind="best",
            text=f"None of {count(runs, 'run')} ended well: there is nothing to compare.",
            figures=(),
        )
    matched = matches(good)
    given = {one.factor: effects(one) for one in matched}
    yield from _best(good)
    for one in matched:
        yield from _effects(one, given[one.factor])
        yield from _interactions(one)
    yield from _best_by_budget(good)
    yield from _pipelines(good)
    yield from _cannot_tell(good, matched, given)
    intervals = sum(
        effect.enough and effect.interval is not None
        for levels in given.values()
        for level in levels.values()
        for effect in level
    )
    for text in caveats.caveats(outcomes, intervals):
        yield Conclusion(kind="caveats", text=text, figures=())


def _best(good: Sequence[Outcome]) -> Iterator[Conclusion]:
    for words, outcomes in ranking.settings(good).items():
        prefix = f"With {words}: " if words else ""
        for metric in METRICS:
            best = ranking.best(outcomes, metric)
            if best is not None:
                text = prefix + sentences.best(best)
                yield Conclusion(kind="best", text=text, figures=_pictures(metric, "architecture"))
            elif metric is TIME and any(outcome.aimed for outcome in outcomes):
                text = prefix + sentences.no_time(outcomes)
                yield Conclusion(kind="best", text=text, figures=("time_to_accuracy",))


def _pictures(metric: Metric, factor: str) -> tuple[str, ...]:
    """Names of the pictures that show a figure by a factor."""
    if factor == "pipeline":
        return PIPELINES
    if factor == "epochs":
        return ("curves_accuracy_epochs",)
    bars = ("time_to_accuracy",) if metric is TIME else ()
    return (*bars, f"{metric.name}_architecture_{HEAT_MAPS[factor]}")


def _effects(matched: Matched, given: dict[str, list[Effect]]) -> Iterator[Conclusion]:
    kind = "longer budgets" if matched.factor == "epochs" else "effects"
    alone = [level for level, found in given.items() if not found]
    if alone:
        text = sentences.unmatched(alone, matched)
        yield Conclusion(kind=kind, text=text, figures=())
    for level, found in given.items():
        what = against(level, matched.reference)
        if found and not any(one.enough for one in found):
            text = sentences.too_few(found)
            yield Conclusion(kind=kind, text=text, figures=_pictures(ACCURACY, matched.factor))
            continue
        for timing in (False, True):
            parts = [one for one in found if one.metric.timing is timing]
            if parts:
                text = f"{what}, {'; '.join(map(sentences.effect, parts))}."
                pictures = (_pictures(one.metric, matched.factor) for one in parts)
                names = tuple(dict.fromkeys(name for group in pictures for name in group))
                yield Conclusion(kind=kind, text=text, figures=names)


def _interactions(matched: Matched) -> Iterator[Conclusion]:
    if matched.factor not in ("optimizer", "augmentation", "epochs"):
        return
    kind = "longer budgets" if matched.factor == "epochs" else "interactions"
    for one in interactions(matched):
        yield Conclusion(
            kind=kind,
            text=sentences.interaction(one),
            figures=_pictures(ACCURACY, matched.factor),
        )


def _best_by_budget(good: Sequence[Outcome]) -> Iterator[Conclusion]:
    for words, outcomes in ranking.settings(good).items():
        budgets: dict[int, list[Outcome]] = {}
        for outcome in sorted(outcomes, key=lambda outcome: outcome.cell.epochs):
            budgets.setdefault(outcome.cell.epochs, []).append(outcome)
        found = {epochs: ranking.best(cells, ACCURACY) for epochs, cells in budgets.items()}
        told = [
            f"{code(best.outcome.cell.name)} after {count(epochs, 'epoch')} ({best.value:.2f} %, "
            f"{count(best.seeds, 'seed')}, of {count(best.others + 1, 'cell')})"
            for epochs, best in found.items()
            if best is not None
        ]
        if len(told) > 1:
            prefix = f"With {words}: " if words else ""
            yield Conclusion(
                kind="longer budgets",
                text=f"{prefix}Highest accuracy by budget: {', '.join(told)}.",
                figures=_pictures(ACCURACY, "epochs"),
            )


def _pipelines(good: Sequence[Outcome]) -> Iterator[Conclusion]:
    found = stalls(good)
    texts = [summary(found)] if found else []
    for text in texts + [sentence(stall) for stall in found]:
        yield Conclusion(kind="pipelines", text=text, figures=PIPELINES)


def _cannot_tell(
    good: Sequence[Outcome], matched: Sequence[Matched], given: dict[str, dict[str, list[Effect]]]
) -> Iterator[Conclusion]:
    for text in _between_seeds(good):
        yield Conclusion(kind="cannot tell", text=text, figures=_pictures(ACCURACY, "architecture"))
    for one in matched:
        metric = SPEED if one.factor == "pipeline" else ACCURACY
        for level in one.pairs:
            cells = cell_by_cell(one, level, metric)
            if cells.higher or cells.lower or cells.cannot_tell:
                yield Conclusion(
                    kind="cannot tell" if cells.cannot_tell else "effects",
                    text=sentences.cell_by_cell(cells, level, one.reference, metric),
                    figures=_pictures(metric, one.factor),
                )
    for metric in METRICS:
        untold = [
            effect
            for levels in given.values()
            for level in levels.values()
            for effect in level
            if effect.metric is metric and effect.side == 0
        ]
        if untold:
            names = [against(effect.level, effect.reference) for effect in untold]
            more = len(names) - MOST_EFFECTS
            rest = f" and {more} more" if more > 0 else ""
            text = (
                f"Cannot tell an average effect on {metric.label}: "
                f"{', '.join(names[:MOST_EFFECTS])}{rest}."
            )
            pictures = (_pictures(metric, effect.factor) for effect in untold)
            shown = tuple(dict.fromkeys(name for group in pictures for name in group))
            yield Conclusion(kind="cannot tell", text=text, figures=shown)


def _between_seeds(good: Sequence[Outcome]) -> Iterator[str]:
    """How far apart two cells must be, from how far apart the seeds of one are."""
    if not good:
        return
    seeds = sorted(len(outcome.good) for outcome in good)
    enough = sum(number >= SEEDS_NEEDED for number in seeds)
    if enough < 2:
        yield (
            f"{'No cell has' if not enough else 'One cell has'} {SEEDS_NEEDED} seeds or more (most "
            f"have {statistics.mode(seeds)}): no two cells can be told apart by their seeds alone; "
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
        least = _least(pooled, usual)
        text += f": two cells of {usual} seeds are told apart from {least:.2f} points on"
    yield f"{text}."


def _least(spread: float, seeds: int) -> float:
    """The least difference of two means of so many seeds that a t test finds."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, 2 * seeds - 2)) * spread * math.sqrt(2 / seeds)
