"""Short answers from one group's records: quickest pipeline, soonest net, best optimizer and cell.

An answer is sure only if its entry is significantly better than each of the others. As all of these
tests must succeed, choosing the best needs no correction of its own (Gutmann and Maymin 1987: Is
the selected population the best?). Cells are compared with the best one as in `effects.best`, by
Tamhane's test. Holm's correction covers the answers of a group.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.record import FAILED, RecordSummary
from bench.report.columns import ACCURACY, SPEED, TIME, Metric
from bench.report.statistics.effects import (
    Block,
    Outcomes,
    Pair,
    best,
    blocks,
    effect,
    outcomes_by_group,
    ranking_groups,
    to_scale,
    widest,
)
from bench.report.statistics.intervals import ALPHA, SEEDS_NEEDED, holm, welch
from bench.store.loaders_record import LEAST_REPEATS, LoadersRecord
from bench.text import count, wrapped

MAX_NAMES = 2
WORSE = {"Quickest pipeline": "slower", "Soonest net": "later"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer."""

    question: str  # "Best optimizer"
    entry: str = ""  # "muon", which leads even if that is not sure; "" if none does
    value: str = ""  # with its unit and lead: "71.20 % accuracy (0.80 points ahead of sgd)"
    sure: bool = False
    why: str  # why it is sure, or why nobody can tell

    def judged(self, p: Mapping[str, float], factor: float) -> "Answer":
        """The answer with its verdict, from the p value of each other entry times `factor`."""
        tied = [name for name, value in p.items() if value * factor >= ALPHA]
        if tied:
            of_all = f"{len(tied)} of {len(p)} others"
            names = " and ".join(tied) if len(tied) <= MAX_NAMES else of_all
            return replace(self, why=f"statistically tied with {names} ({self.why})")
        others = {1: "the other one is", 2: "both others are"}.get(
            len(p), f"all {len(p)} others are"
        )
        worse = WORSE.get(self.question, "worse")
        return replace(self, sure=True, why=f"{others} {worse} ({self.why})")


Draft = tuple[Answer, dict[str, float]]  # and the p value of each other entry; {} without a test


class _Asked(NamedTuple):
    """A question about the levels of a factor."""

    question: str
    factor: str
    noun: str
    metric: Metric


ASKED = (
    _Asked("Quickest pipeline", "pipeline", "pipeline", SPEED),
    _Asked("Soonest net", "architecture", "net", TIME),
    _Asked("Best optimizer", "optimizer", "optimizer", ACCURACY),
)


def answers(
    records: Iterable[RecordSummary], *, loaders: LoadersRecord | None = None
) -> list[Answer]:
    """The answers of one group; `loaders` decide on the quickest pipeline before training does."""
    outcomes = [one for group in outcomes_by_group(records).values() for one in group]
    quickest = _by_loaders(loaders) if loaders else None
    drafts = [quickest] if quickest else []
    if outcomes:
        alike = [outcome for outcome in outcomes if not outcome.key.differs] or outcomes
        per_batch = {one.cell.pipeline for one in alike if one.row["draws"]}  # draw less
        rivals = [one for one in alike if one.cell.pipeline not in per_batch] or alike
        drafts += [
            _by_factor(rivals if asked.factor == "pipeline" else alike, asked)
            for asked in ASKED[len(drafts) :]
        ]
        drafts.append(_best_cell(outcomes))
    largest = [max(p.values(), default=1.0) for _, p in drafts]
    factors = [after / p if p else 1.0 for p, after in zip(largest, holm(largest), strict=True)]
    return [
        answer.judged(p, factor) if p else answer
        for (answer, p), factor in zip(drafts, factors, strict=True)
    ]


def _by_factor(outcomes: Outcomes, asked: _Asked) -> Draft:
    """The best level of a factor, over the cells that all of its levels have."""
    question, factor, _, metric = asked
    whole = blocks(outcomes, factor, metric)
    measured = [_measured(block, metric) for block in whole]
    levels = {name for block in whole for name, side in block.items() if any(o.good for o in side)}
    compared = widest(measured)
    common = [block for block in measured if set(block) == compared]  # as pivot tables do
    suspect = metric.timing and any(outcome.suspect for outcome in outcomes)
    enough = compared == levels or (len(compared) > 1 and not suspect)
    why = _left_out(outcomes, asked, levels, compared if enough else ())
    if not (enough and levels):
        return Answer(question=question, why=why), {}
    means = {level: _mean([b[level] for b in common], factor, metric) for level in compared}
    missed = {level: _missed([b[level] for b in common], metric) for level in compared}
    sign = -1 if metric.higher else 1
    leader, *others = sorted(compared, key=lambda name: (missed[name], sign * means[name], name))
    targets = sorted({block[leader][0].cell.target_accuracy for block in common})
    target = " and ".join(f"{100 * value:g} %" for value in targets)
    if missed[leader] == 1:
        return Answer(question=question, why=f"no run reached the target of {target}"), {}
    value = _value(means[leader], metric, target)
    if missed[leader]:
        value = f"reached {target} in {100 * (1 - missed[leader]):.0f} % of runs"
    elif others and not missed[others[0]]:
        value += f" ({_lead(means[leader] - means[others[0]], others[0], metric)})"
    failed = [r for b in whole for o in b.get(leader, ()) for r in o.runs if r.status in FAILED]
    p: dict[str, float] = {}
    if not why and missed[leader]:
        why = "it missed the target in some runs"
    elif not why and failed:
        why = f"{count(len(failed), 'run')} of it failed"
    elif not why:
        why, p = _tests(common, leader, others, asked)
    return Answer(question=question, entry=leader, value=value, why=why), p


def _tests(
    common: Sequence[Block], leader: str, others: Sequence[str], asked: _Asked
) -> tuple[str, dict[str, float]]:
    """What the tests are over and their p values, or why there are none."""
    p: dict[str, float] = {}
    over = ""
    for other in others:
        pairs = [Pair(block[leader], block[other]) for block in common]
        row = effect(pairs, asked.factor, asked.metric)
        if row is None or row["p"] is None:
            cells = [one for pair in pairs for one in (*pair.level, *pair.reference)]
            return _few(min(len(one.usable(asked.metric)) for one in cells)), {}
        worse = row["side"] == (1 if asked.metric.higher else -1)
        always_missed = asked.metric.to_target and not row["reference_reached"]  # worse by rule
        p[other] = 0.0 if always_missed else row["p"] if worse else 1.0
        over = row["over"]
        if "seed" in over:
            over += f" of {count(row['cells'], 'cell')}"
    return over, p


def _left_out(
    outcomes: Outcomes, asked: _Asked, levels: Collection[str], compared: Collection[str]
) -> str:
    """Why there are no two levels, or not all are compared; "" if nothing is left out."""
    good = [outcome for outcome in outcomes if outcome.good]
    suspect = sum(not outcome.trusted for outcome in good) if asked.metric.timing else 0
    if not good:
        return "no run succeeded"
    if len(levels) == 1:
        return f"there is no other {asked.noun}"
    if len(compared) == len(levels):
        return ""
    if suspect:
        verb = "has" if suspect == 1 else "have"
        return f"{suspect} of {count(len(good), 'cell')} {verb} suspect timings"
    if not compared:
        return f"no two cells differ only in {asked.noun}"
    left_out = sorted(set(levels) - set(compared))
    return f"no matching cells with {' and '.join(left_out[:MAX_NAMES])}"


def _measured(block: Block, metric: Metric) -> Block:
    """The cells of a block with values that can be trusted."""
    sides = {level: [one for one in side if one.values(metric)] for level, side in block.items()}
    return {level: side for level, side in sides.items() if side}


def _mean(sides: Sequence[Outcomes], factor: str, metric: Metric) -> float:
    """The mean of a level, averaged over the cells of a net (or an optimizer) first."""
    axis = "optimizer" if factor == "architecture" else "architecture"
    units: dict[str, list[float]] = defaultdict(list)
    for side in sides:
        value = statistics.fmean(v for one in side for v in to_scale(one.values(metric), metric))
        if value < math.inf:
            units[getattr(side[0].cell, axis)].append(value)
    return statistics.fmean(map(statistics.fmean, units.values())) if units else math.inf


def _missed(sides: Sequence[Outcomes], metric: Metric) -> float:
    """The share of runs that missed the target."""
    values = [value for side in sides for one in side for value in one.values(metric)]
    return sum(map(math.isinf, values)) / len(values)


def _value(value: float, metric: Metric, target: str) -> str:
    if metric is ACCURACY:
        return f"{value:.2f} % accuracy"
    return f"{math.exp(value):.3g} s to {target}" if metric is TIME else _speed(value)


def _speed(logarithm: float) -> str:
    return f"{math.exp(logarithm):,.0f} images/s"


def _lead(lead: float, other: str, metric: Metric) -> str:
    if metric is ACCURACY:
        return f"{lead:.2f} points ahead of {other}"
    ratio = f"{math.exp(abs(lead)):,.2f}\u00d7"
    return f"{other} takes {ratio}" if metric is TIME else f"{ratio} {other}"


def _few(seeds: int) -> str:
    if seeds >= SEEDS_NEEDED:
        return f"fewer than {SEEDS_NEEDED} seeds in common"
    return f"{'one seed' if seeds == 1 else f'{seeds} seeds'} each, a claim needs {SEEDS_NEEDED}"


def _best_cell(outcomes: Outcomes) -> Draft:
    """The cell with the best accuracy, among those that may be ranked together."""
    good = [outcome for outcome in outcomes if outcome.good]
    groups = (group for _, group in ranking_groups(good, ACCURACY))
    ranked = max(groups, key=len, default=[])
    found = best(ranked, ACCURACY)
    if found is None:
        why = "no cell is without failed runs" if good else "no run succeeded"
        return Answer(question="Best accuracy", why=why), {}
    value = f"{found.value:.2f} %"
    if 0 <= found.lead < math.inf:
        value += f" (+{found.lead:.2f} points)"
    if len(ranked) < len(good):
        value += f", among {len(ranked)} of {count(len(good), 'cell')}"
    why = count(found.seeds, "seed") if found.p else "there is no other cell"
    if found.seeds < SEEDS_NEEDED and found.uncompared:
        why = _few(found.seeds)
    elif found.uncompared:
        why = f"fewer than {SEEDS_NEEDED} seeds of {count(found.uncompared, 'other cell')}"
    answer = Answer(question="Best accuracy", entry=found.outcome.label, value=value, why=why)
    return answer, {} if found.uncompared else dict(found.p)


def _by_loaders(loaders: LoadersRecord) -> Draft | None:
    """The quickest pipeline alone, at the largest batch size; sure if it is so at every size.

    None unless two pipelines or more have trusted speeds at a size.
    """
    sizes: dict[int, dict[str, tuple[float, ...]]] = defaultdict(dict)
    done = [series for series in loaders.series if series.measured and not series.apart]
    decoding = len({series.pipeline for series in done if series.reads == "files"}) > 1
    measured = [series for series in done if (series.reads == "files") is decoding]
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
    how = f"alone{' from files' * decoding}, batch {trusted[-1]}"
    value = f"{_speed(medians[leader])} {how} ({lead})"
    repeats = min(len(each) for size in trusted for each in sizes[size].values())
    why = count(repeats, "repeat")
    if repeats < LEAST_REPEATS:
        why = f"{why} each, a claim needs {LEAST_REPEATS}"
    answer = Answer(question=ASKED[0].question, entry=leader, value=value, why=why)
    p = {other: max(_p_slower(sizes[size], leader, other) for size in trusted) for other in others}
    return answer, {} if repeats < LEAST_REPEATS else p


def _p_slower(speeds: Mapping[str, tuple[float, ...]], leader: str, other: str) -> float:
    if not {leader, other} <= set(speeds):
        return 0.0  # not measured at this size
    test = welch(speeds[leader], speeds[other])
    return test.p if test.side > 0 else 1.0


def answer_lines(found: Sequence[Answer], *, width: int = 80) -> list[str]:
    """The answers as aligned text; names are never broken."""
    indent = " " * (2 + max((len(answer.question) for answer in found), default=0))
    heads, verdicts = [], []
    for answer in found:
        entry = f"{answer.entry}{'' if answer.sure else '?'}, " if answer.entry else ""
        heads.append(f"{entry}{answer.value}")
        verdicts.append(f"{'sure' if answer.sure else 'cannot tell'}: {answer.why}")
    column = 2 + max(map(len, heads), default=0)
    beside = len(indent) + column + max(map(len, verdicts), default=0) <= width
    lines = []
    for answer, head, verdict in zip(found, heads, verdicts, strict=True):
        texts = [head.ljust(column) + verdict] if beside else filter(None, (head, verdict))
        own = [line for text in texts for line in wrapped(text, width - len(indent)).split("\n")]
        lines.append(answer.question.ljust(len(indent)) + own[0])
        lines += [indent + line for line in own[1:]]
    return lines
