"""Short answers from one group's records: quickest pipeline, soonest net, best optimizer and cell.

An answer is sure only if its entry is significantly better than every other one. As the best entry
is selected by its value, Tamhane's correction covers all pairs of entries, and Holm's correction
covers the answers of the group.
"""

import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.record import RecordSummary
from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.rows import Outcome
from bench.report.statistics.effects import effect
from bench.report.statistics.intervals import (
    ALPHA,
    SEEDS_NEEDED,
    Contrast,
    holm,
    tamhane,
    welch_test,
)
from bench.report.statistics.outcomes import (
    FAILED,
    Block,
    Pair,
    best,
    blocks,
    common_levels,
    outcomes_by_group,
    ranking_groups,
    to_scale,
)
from bench.store.loaders_record import LEAST_REPEATS
from bench.text import count

if TYPE_CHECKING:
    from bench.store.loaders_record import LoadersRecord

NOUNS = {"pipeline": "pipeline", "architecture": "net", "optimizer": "optimizer"}
WORSE = {SPEED.name: "slower", TIME.name: "later", ACCURACY.name: "worse"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, as the page, `bench run` and `bench table` show it."""

    question: str  # "Best optimizer"
    entry: str  # "muon", the leader even if it is not sure; "" if there is none
    value: str  # with unit and lead: "71.20 % (0.80 points ahead of sgd)"
    sure: bool
    why: str  # why it is sure, or why nobody can tell


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """An answer before the correction for the number of answers."""

    question: str
    entry: str = ""
    value: str = ""
    why: str = ""  # why it cannot be sure; "" if the test decides
    basis: str = ""  # what the test is over: "6 nets"
    worse: str = "worse"
    p: Mapping[str, float] | None = None  # by other entry, corrected for the selection

    def answer(self, scale: float) -> Answer:
        """The answer, with p values multiplied by `scale` for the number of answers."""
        why, sure = self.why, False
        if self.p is not None and not why:
            tied = [name for name, p in self.p.items() if p * scale >= ALPHA]
            sure = not tied
            more = f" and {count(len(tied) - 1, 'other')}" if len(tied) > 1 else ""
            verb = "are" if more else "is"
            why = f"{tied[0]}{more} {verb} statistically tied" if tied else self._sure()
        return Answer(
            question=self.question, entry=self.entry, value=self.value, sure=sure, why=why
        )

    def _sure(self) -> str:
        others = len(self.p or ())
        return f"{self.basis}, {'the other is' if others == 1 else f'all {others} others are'} " + (
            self.worse
        )


def answers(
    records: Iterable[RecordSummary],
    *,
    measured: Any = None,
    loaders: "LoadersRecord | None" = None,
) -> list[Answer]:
    """The answers from the records of one group; none without records.

    Args:
        loaders: Measurements of each pipeline alone, which answer for the pipelines if there are.
    """
    outcomes = [one for group in outcomes_by_group(records).values() for one in group]
    if not outcomes:
        return []
    drafts = [
        (loaders and _by_loaders(loaders)) or _by_factor(outcomes, "pipeline", SPEED),
        _by_factor(outcomes, "architecture", TIME),
        _by_factor(outcomes, "optimizer", ACCURACY),
        _best_cell(outcomes),
    ]
    largest = [max(draft.p.values()) if draft.p and not draft.why else 1.0 for draft in drafts]
    scales = [after / p if p else 1.0 for p, after in zip(largest, holm(largest), strict=True)]
    return [draft.answer(scale) for draft, scale in zip(drafts, scales, strict=True)]


QUESTIONS = {
    "pipeline": "Quickest pipeline",
    "architecture": "Soonest net",
    "optimizer": "Best optimizer",
}


def _by_factor(outcomes: Sequence[Outcome[Any]], factor: str, metric: Metric) -> _Draft:
    """The best level of a factor over the cells that all levels have."""
    question, noun = QUESTIONS[factor], NOUNS[factor]
    good = [outcome for outcome in outcomes if outcome.good]
    found = blocks(good, factor, metric)
    every = sorted({level for block in found for level in block})
    usable = [_measured(block, metric) for block in found]
    kept = common_levels([set(block) for block in usable], every)
    common = [block for block in usable if set(kept) <= set(block)]
    if not common:
        return _Draft(question=question, why=_no_values(good, metric, noun))
    units = {level: _units([block[level] for block in common], factor, metric) for level in kept}
    sign = -1 if metric.higher else 1
    missed = {level: _missed([block[level] for block in common], metric) for level in kept}
    leader, *others = sorted(
        kept, key=lambda level: (missed[level], sign * _mean(units[level]), level)
    )
    middle = _mean(units[leader])
    shown = _value(middle, metric, common[0][leader][0]) if math.isfinite(middle) else ""
    pairs = {
        other: [Pair(level=tuple(b[leader]), reference=tuple(b[other])) for b in common]
        for other in others
    }
    rows = {other: effect(each, factor, metric) or {} for other, each in pairs.items()}
    lead = _lead(rows[others[0]]["estimate"], others[0], metric) if others else ""
    draft = _Draft(question=question, entry=leader, value=f"{shown}{lead}")
    if not middle < math.inf:
        return _Draft(
            question=question,
            why=f"no {noun} reached the target of "
            f"{100 * common[0][leader][0].cell.target_accuracy:g} %",
        )
    why = ""
    if not others and len(every) == 1:
        why = f"there is no other {noun}"
    elif left_out := [level for level in every if level not in kept]:
        why = _left_out(left_out, good, factor, metric)
    elif missed[leader]:
        why = "it missed the target in some runs"
    elif failed := _failed(outcomes, factor, leader):
        why = f"{count(failed, 'run')} of it failed"
    elif any(row["p"] is None for row in rows.values()):
        why = _few(
            min(len(one.usable(metric)) for b in common for side in b.values() for one in side)
        )
    if why:
        return replace(draft, why=why)
    p = []
    for row in rows.values():
        ahead = row["side"] == -sign
        by_rule = metric.to_target and row["reference_reached"] == 0
        p.append(0.0 if by_rule else row["p"] if ahead else 1.0)
    adjusted = dict(zip(rows, tamhane(p), strict=True))
    return replace(
        draft,
        basis=rows[others[0]]["over"],
        worse=WORSE[metric.name],
        p=adjusted,
    )


def _measured(block: Block, metric: Metric) -> Block:
    sides = {level: [one for one in side if one.values(metric)] for level, side in block.items()}
    return {level: side for level, side in sides.items() if side}


def _units(sides: Sequence[Sequence[Outcome[Any]]], factor: str, metric: Metric) -> list[float]:
    """The means of each net (or optimizer), on the scale of comparison."""
    axis = "optimizer" if factor == "architecture" else "architecture"
    found: dict[str, list[float]] = defaultdict(list)
    for side in sides:
        values = [statistics.fmean(to_scale(one.values(metric), metric)) for one in side]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            found[getattr(side[0].cell, axis)].append(statistics.fmean(finite))
    return [statistics.fmean(values) for values in found.values()]


def _mean(units: Sequence[float]) -> float:
    return statistics.fmean(units) if units else math.inf


def _missed(sides: Sequence[Sequence[Outcome[Any]]], metric: Metric) -> float:
    """The share of runs that missed the target."""
    values = [value for side in sides for one in side for value in one.values(metric)]
    return sum(map(math.isinf, values)) / len(values)


def _value(value: float, metric: Metric, outcome: Outcome[Any]) -> str:
    if metric is ACCURACY:
        return f"{value:.2f} % accuracy"
    if metric is TIME:
        return f"{math.exp(value):.1f} s to {100 * outcome.cell.target_accuracy:g} %"
    return f"{math.exp(value):,.0f} images/s"


def _lead(estimate: float | None, other: str, metric: Metric) -> str:
    if estimate is None or math.isnan(estimate):
        return ""
    if metric is ACCURACY:
        return f" ({estimate:.2f} points ahead of {other})"
    if metric is TIME:
        return f" ({other} takes {1 / estimate:.2f}\u00d7)"
    return f" ({estimate:.2f}\u00d7 {other})"


def _failed(outcomes: Sequence[Outcome[Any]], factor: str, level: str) -> int:
    return sum(
        run.status in FAILED
        for one in outcomes
        if getattr(one.cell, factor) == level
        for run in one.runs
    )


def _no_values(good: Sequence[Outcome[Any]], metric: Metric, noun: str) -> str:
    suspect = _suspect(good) if metric.timing else ""
    return suspect or (f"no two {noun}s share a cell" if good else "no run succeeded")


def _suspect(good: Sequence[Outcome[Any]]) -> str:
    number = sum(not one.trusted for one in good)
    return f"{number} of {count(len(good), 'cell')} have suspect timings" if number else ""


def _left_out(
    levels: Sequence[str], good: Sequence[Outcome[Any]], factor: str, metric: Metric
) -> str:
    theirs = [one for one in good if getattr(one.cell, factor) in levels]
    suspect = _suspect(good) if metric.timing and any(not one.trusted for one in theirs) else ""
    return suspect or f"{', '.join(levels[:2])} cannot be compared: trained in other cells"


def _few(seeds: int) -> str:
    return f"{'one seed' if seeds == 1 else f'{seeds} seeds'} each: a claim needs {SEEDS_NEEDED}"


def _best_cell(outcomes: Sequence[Outcome[Any]]) -> _Draft:
    good = [outcome for outcome in outcomes if outcome.good]
    groups = [group for _, group in ranking_groups(outcomes, ACCURACY)]
    found = best(max(groups, key=len), ACCURACY) if good else None
    question = "Best accuracy"
    if found is None:
        return _Draft(question=question, why="no run succeeded" if not good else "runs failed")
    draft = _Draft(question=question, entry=found.outcome.label, value=f"{found.value:.2f} %")
    if not found.others:
        return replace(draft, why="there is no other cell")
    if found.too_few:
        return replace(draft, why=_few(min(found.seeds, SEEDS_NEEDED - 1)))
    return replace(draft, basis=count(found.seeds, "seed"), p=found.p)


def _by_loaders(loaders: "LoadersRecord") -> _Draft | None:
    """The quickest pipeline alone at the largest batch size; None if nothing was measured."""
    size = max((series.batch_size for series in loaders.series), default=0)
    rates = {
        series.pipeline: [repeat.images_per_s for repeat in series.repeats]
        for series in loaders.series
        if series.batch_size == size and series.status == "ok" and series.repeats
    }
    if len(rates) < 2:
        return None
    leader, *others = sorted(rates, key=lambda name: -statistics.median(rates[name]))
    top = statistics.median(rates[leader])
    ratio = top / statistics.median(rates[others[0]])
    draft = _Draft(
        question=QUESTIONS["pipeline"],
        entry=leader,
        value=f"{top:,.0f} images/s ({ratio:.2f}\u00d7 {others[0]})",
    )
    repeats = min(map(len, rates.values()))
    if repeats < LEAST_REPEATS:
        return replace(draft, why=f"{count(repeats, 'repeat')} each: a claim needs {LEAST_REPEATS}")
    level = to_scale(rates[leader], SPEED)
    p = [welch_test(Contrast(level=level, reference=to_scale(rates[o], SPEED))).p for o in others]
    return replace(
        draft,
        basis=f"alone, {count(repeats, 'repeat')}",
        worse="slower",
        p=dict(zip(others, tamhane(p), strict=True)),
    )


def answer_lines(found: Sequence[Answer], *, width: int = 80) -> list[str]:
    """The answers as aligned text for a terminal; names are never broken."""
    indent = max((len(answer.question) for answer in found), default=0) + 2
    lines = []
    for answer in found:
        head = answer.entry + ("" if answer.sure or not answer.entry else "?")
        head = ", ".join(filter(None, (head, answer.value)))
        verdict = f"{'sure' if answer.sure else 'cannot tell'}: {answer.why}"
        for part, text in enumerate(filter(None, (head, verdict))):
            lines += textwrap.wrap(
                text,
                width,
                initial_indent=" " * indent if part else answer.question.ljust(indent),
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines
