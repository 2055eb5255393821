"""Short answers from one group's records: quickest pipeline, soonest net, best optimizer and cell.

An answer is sure only if its entry is significantly better than each of the others. As all of these
tests must succeed, the selection of the best needs no further correction (Gutmann and Maymin 1987:
Is the selected population the best?); cells have Tamhane's, as wherever they are compared with the
best. Holm's correction covers the answers of a group.
"""

import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.record import RecordSummary
from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.statistics.effects import effect
from bench.report.statistics.intervals import (
    ALPHA,
    SEEDS_NEEDED,
    Contrast,
    holm,
    welch_test,
)
from bench.report.statistics.outcomes import (
    FAILED,
    Block,
    Outcomes,
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

KEPT = ("ok", "interrupted")  # statuses of series that have speeds
MAX_NAMES = 2


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer."""

    question: str  # "Best optimizer"
    entry: str  # "muon", which leads even if that is not sure; "" if none does
    value: str  # with its unit and lead: "71.20 % accuracy (0.80 points ahead of sgd)"
    sure: bool
    why: str  # why it is sure, or why nobody can tell


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A question about the levels of a factor."""

    text: str
    factor: str
    noun: str
    metric: Metric
    worse: str  # what the other levels are

    @property
    def sign(self) -> int:
        """-1 if more is better."""
        return -1 if self.metric.higher else 1


PIPELINE = _Question(
    text="Quickest pipeline", factor="pipeline", noun="pipeline", metric=SPEED, worse="slower"
)
NET = _Question(text="Soonest net", factor="architecture", noun="net", metric=TIME, worse="later")
OPTIMIZER = _Question(
    text="Best optimizer", factor="optimizer", noun="optimizer", metric=ACCURACY, worse="worse"
)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """An answer before the correction for the number of answers."""

    answer: Answer
    p: Mapping[str, float] = field(
        default_factory=dict
    )  # that another entry is as good; empty without a test
    basis: str = ""  # what the tests are over: "6 nets"
    worse: str = "worse"

    def corrected(self, factor: float) -> Answer:
        """The answer after its p values are multiplied."""
        if not self.p:
            return self.answer
        tied = [name for name, p in self.p.items() if p * factor >= ALPHA]
        if tied:
            of_all = f"{len(tied)} of {len(self.p)} others"
            names = " and ".join(tied) if len(tied) <= MAX_NAMES else of_all
            return replace(self.answer, why=f"statistically tied with {names} ({self.basis})")
        others = f"all {len(self.p)} others are" if len(self.p) > 1 else "the other one is"
        return replace(self.answer, sure=True, why=f"{others} {self.worse} ({self.basis})")


def answers(
    records: Iterable[RecordSummary],
    *,
    measured: object = None,
    loaders: "LoadersRecord | None" = None,
) -> list[Answer]:
    """The answers from the records of one group.

    Args:
        loaders: Measurements of the pipelines alone, which come before the speeds of training.
    """
    outcomes = [one for group in outcomes_by_group(records).values() for one in group]
    pipelines = _by_loaders(loaders) if loaders else None
    drafts = [pipelines] if pipelines else []
    if outcomes:
        drafts += [] if pipelines else [_by_factor(outcomes, PIPELINE)]
        drafts += [_by_factor(outcomes, NET), _by_factor(outcomes, OPTIMIZER), _cell(outcomes)]
    largest = [max(draft.p.values(), default=1.0) for draft in drafts]
    factors = [after / p if p else 1.0 for p, after in zip(largest, holm(largest), strict=True)]
    return [draft.corrected(factor) for draft, factor in zip(drafts, factors, strict=True)]


def _unsure(question: str, why: str, entry: str = "", value: str = "") -> _Draft:
    return _Draft(answer=Answer(question=question, entry=entry, value=value, sure=False, why=why))


def _by_factor(outcomes: Outcomes, asked: _Question) -> _Draft:
    """The best level of a factor over the cells that all levels have."""
    metric = asked.metric
    whole = blocks(outcomes, asked.factor, metric)
    every = {name for block in whole for name, side in block.items() if any(o.good for o in side)}
    found = [_measured(block, metric) for block in whole]
    kept = common_levels([set(block) for block in found], sorted(every))
    common = [block for block in found if set(kept) <= set(block)] if kept else []
    if not common:
        return _unsure(asked.text, _obstacle(outcomes, asked, every, ()))
    means = {level: _mean([block[level] for block in common], asked) for level in kept}
    missed = {level: _missed([block[level] for block in common], metric) for level in kept}
    leader, *others = sorted(
        kept, key=lambda level: (missed[level], asked.sign * means[level], level)
    )
    targets = sorted({block[leader][0].cell.target_accuracy for block in common})
    target = " and ".join(f"{100 * value:g} %" for value in targets)
    if missed[leader] == 1:
        return _unsure(asked.text, f"no run reached the target of {target}")
    value = _value(means[leader], metric, target)
    if missed[leader]:
        value = f"reached {target} in {100 * (1 - missed[leader]):.0f} % of runs"
    elif others and not missed[others[0]]:
        value += f" ({_lead(means[leader] - means[others[0]], others[0], metric)})"
    if why := _obstacle(outcomes, asked, every, kept):
        return _unsure(asked.text, why, leader, value)
    if missed[leader]:
        return _unsure(asked.text, "it missed the target in some runs", leader, value)
    failed = [r for b in whole for o in b.get(leader, ()) for r in o.runs if r.status in FAILED]
    if failed:
        return _unsure(asked.text, f"{count(len(failed), 'run')} of it failed", leader, value)
    p: dict[str, float] = {}
    basis = ""
    for other in others:
        pairs = [Pair(level=tuple(b[leader]), reference=tuple(b[other])) for b in common]
        row = effect(pairs, asked.factor, metric)
        if row is None or row["p"] is None:
            sides = (one for block in common for side in block.values() for one in side)
            few = _few(min(len(one.usable(metric)) for one in sides))
            return _unsure(asked.text, few, leader, value)
        always_missed = metric.to_target and not row["reference_reached"]  # worse by rule
        p[other] = 0.0 if always_missed else row["p"] if row["side"] == -asked.sign else 1.0
        basis = basis or f"{row['over']}, {count(row['cells'], 'matched cell')}"
    draft = _unsure(asked.text, "", leader, value)
    return replace(draft, p=p, basis=basis, worse=asked.worse)


def _obstacle(
    outcomes: Outcomes, asked: _Question, every: Collection[str], kept: Collection[str]
) -> str:
    """Why no level can be sure to be the best of `every`, of which `kept` can be compared."""
    good = [outcome for outcome in outcomes if outcome.good]
    suspect = sum(not outcome.trusted for outcome in good) if asked.metric.timing else 0
    if not good:
        return "no run succeeded"
    if len(every) == 1:
        return f"there is no other {asked.noun}"
    if len(kept) == len(every):
        return ""
    if suspect:
        verb = "has" if suspect == 1 else "have"
        return f"{suspect} of {count(len(good), 'cell')} {verb} suspect timings"
    if not kept:
        return f"no two {asked.noun}s have a cell in common"
    left_out = sorted(set(every) - set(kept))
    return f"no cells in common with {' and '.join(left_out[:MAX_NAMES])}"


def _measured(block: Block, metric: Metric) -> Block:
    """The cells of a block with values that can be trusted."""
    sides = {level: [one for one in side if one.values(metric)] for level, side in block.items()}
    return {level: side for level, side in sides.items() if side}


def _mean(sides: Sequence[Outcomes], asked: _Question) -> float:
    """The mean of a level, averaged over the cells of a net (or an optimizer) first."""
    axis = "optimizer" if asked.factor == "architecture" else "architecture"
    units: dict[str, list[float]] = defaultdict(list)
    for side in sides:
        seeds = [v for one in side for v in to_scale(one.values(asked.metric), asked.metric)]
        units[getattr(side[0].cell, axis)] += filter(math.isfinite, [statistics.fmean(seeds)])
    means = [statistics.fmean(values) for values in units.values() if values]
    return statistics.fmean(means) if means else math.inf


def _missed(sides: Sequence[Outcomes], metric: Metric) -> float:
    """The share of runs that missed the target."""
    values = [value for side in sides for one in side for value in one.values(metric)]
    return sum(map(math.isinf, values)) / len(values)


def _value(value: float, metric: Metric, target: str) -> str:
    if metric is ACCURACY:
        return f"{value:.2f} % accuracy"
    if metric is TIME:
        return f"{math.exp(value):.3g} s to {target}"
    return f"{math.exp(value):,.0f} images/s"


def _lead(lead: float, other: str, metric: Metric) -> str:
    if metric is ACCURACY:
        return f"{lead:.2f} points ahead of {other}"
    ratio = f"{math.exp(abs(lead)):.3g}\u00d7"
    return f"{other} takes {ratio}" if metric is TIME else f"{ratio} {other}"


def _few(seeds: int) -> str:
    return f"{'one seed' if seeds == 1 else f'{seeds} seeds'} each, a claim needs {SEEDS_NEEDED}"


def _cell(outcomes: Outcomes) -> _Draft:
    """The cell with the best accuracy, among those that may be ranked together."""
    question = "Best accuracy"
    good = [outcome for outcome in outcomes if outcome.good]
    groups = [group for _, group in ranking_groups(good, ACCURACY)]
    found = best(max(groups, key=len), ACCURACY) if groups else None
    if found is None:
        return _unsure(question, "no cell is without failed runs" if good else "no run succeeded")
    value = f"{found.value:.2f} %"
    if 0 <= found.lead < math.inf:
        value += f" ({found.lead:.2f} points ahead)"
    why = _few(min(found.seeds, SEEDS_NEEDED - 1)) if found.too_few else "there is no other cell"
    draft = _unsure(question, why, found.outcome.label, value)
    if found.too_few:
        return draft
    return replace(draft, p=found.p, basis=count(found.seeds, "seed"))


def _by_loaders(loaders: "LoadersRecord") -> _Draft | None:
    """The quickest pipeline alone, at the largest batch size; sure if it is so at every size.

    None unless two pipelines or more have trusted speeds at a size.
    """
    sizes: dict[int, dict[str, tuple[float, ...]]] = defaultdict(dict)
    measured = [series for series in loaders.series if series.repeats and series.status in KEPT]
    for series in measured:
        speeds = [repeat.images_per_s for repeat in series.used]
        sizes[series.batch_size][series.pipeline] = to_scale(speeds, SPEED)
    suspect = {series.batch_size for series in measured if not series.times_trusted}
    trusted = sorted(size for size in sizes if size not in suspect and len(sizes[size]) > 1)
    if not trusted:
        return None
    medians = {name: statistics.median(each) for name, each in sizes[trusted[-1]].items()}
    leader, *others = sorted(medians, key=lambda name: (-medians[name], name))
    lead = _lead(medians[leader] - medians[others[0]], others[0], SPEED)
    value = f"{math.exp(medians[leader]):,.0f} images/s alone, batch {trusted[-1]} ({lead})"
    repeats = min(len(each) for size in trusted for each in sizes[size].values())
    draft = _unsure(PIPELINE.text, f"{count(repeats, 'repeat')} each", leader, value)
    if repeats < LEAST_REPEATS:
        return draft
    p = {other: max(_p_slower(sizes[size], leader, other) for size in trusted) for other in others}
    return replace(draft, p=p, basis=f"{repeats} repeats", worse=PIPELINE.worse)


def _p_slower(speeds: Mapping[str, tuple[float, ...]], leader: str, other: str) -> float:
    if not {leader, other} <= set(speeds):
        return 0.0  # not measured at this size
    test = welch_test(Contrast(level=speeds[leader], reference=speeds[other]))
    return test.p if test.side > 0 else 1.0


def answer_lines(found: Sequence[Answer], *, width: int = 80) -> list[str]:
    """The answers as aligned text; names are never broken."""
    indent = max((len(answer.question) for answer in found), default=0) + 2
    heads = [
        ", ".join(filter(None, (a.entry + "?" * (not a.sure and bool(a.entry)), a.value)))
        for a in found
    ]
    verdicts = [f"{'sure' if a.sure else 'cannot tell'}: {a.why}" for a in found]
    column = max(map(len, heads), default=0) + 2
    beside = indent + column + max(map(len, verdicts), default=0) <= width
    lines = []
    for answer, head, verdict in zip(found, heads, verdicts, strict=True):
        texts = (
            [head.ljust(column) + verdict] if beside else [text for text in (head, verdict) if text]
        )
        for number, text in enumerate(texts):
            wrapper = textwrap.TextWrapper(
                width,
                initial_indent=" " * indent if number else answer.question.ljust(indent),
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            lines += wrapper.wrap(text)
    return lines
