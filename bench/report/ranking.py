"""The best cell by each figure, and which others cannot be told from it.

Cells are ranked within one setting (images, width, target, protocol, ...). Welch's test, or ranks
where targets were missed, with Holm's correction over the cells compared.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.intervals import ALPHA, Contrast, holm, rank_sum, welch_p
from bench.report.matching import SEEDS_NEEDED, is_finite
from bench.report.outcomes import Metric, Outcome, mean, setting_key
from bench.report.rows import Key

Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best cell by one figure.

    Args:
        value: Mean over its seeds.
        seeds: Of the best.
        worse: How many cells are worse beyond chance.
        alike: Labels of those that cannot be told from it, by their mean.
        too_few: How many cannot be compared for want of seeds on either side.
        missed: How many others missed the target with a seed; they are in the counts too.
        margin: Points by which the choice of test images alone moves an accuracy, at 95 %; None
            where it says nothing of the figure.
        test_images: Of the best's test set.
        near: Of `too_few`, how many lie within `margin`.
    """

    metric: Metric
    outcome: Outcome
    value: float
    seeds: int
    worse: int
    alike: tuple[str, ...]
    too_few: int
    missed: int
    margin: float | None
    test_images: int
    near: int

    @property
    def others(self) -> int:
        """All cells it was compared with."""
        return self.worse + len(self.alike) + self.too_few


def settings(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each setting by what sets it apart in words; "" where it is the only one."""
    found: dict[Key, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[setting_key(outcome.key)].append(outcome)
    parts = {key: key.parts() for key in found}
    words = {
        key: ", ".join(
            text
            for name, text in parts[key].items()
            if text and any(other.get(name) != text for other in parts.values())
        )
        for key in found
    }
    return {words[key]: found[key] for key in sorted(found, key=lambda key: words[key])}


def best(outcomes: Sequence[Outcome], metric: Metric) -> Best | None:
    """The best of one setting, chosen as in the matrix: whole cells, no suspect time, no miss."""
    values = {outcome.label: (outcome, outcome.values(metric)) for outcome in outcomes}
    known = {label: found for label, found in values.items() if found[1]}
    whole = {
        label: mean(figures)
        for label, (outcome, figures) in known.items()
        if len(outcome.good) == len(outcome.runs)
        and not (metric.timing and len(outcome.trusted) < len(outcome.good))
        and math.isfinite(sum(figures))
    }
    if not whole:
        return None
    top = min(whole, key=lambda label: ((-1 if metric.higher else 1) * whole[label], label))
    outcome, figures = known.pop(top)
    tested = {
        label: Contrast(level=_scaled(other, metric), reference=_scaled(figures, metric))
        for label, (_, other) in known.items()
        if min(len(other), len(figures)) >= SEEDS_NEEDED
    }
    adjusted = holm([_p(contrast) for contrast in tested.values()])
    alike = [label for label, p in zip(tested, adjusted, strict=True) if p >= ALPHA]
    margin, test_images = _margin(outcome, metric)
    untested = [mean(other) for label, (_, other) in known.items() if label not in tested]
    return Best(
        metric=metric,
        outcome=outcome,
        value=whole[top],
        seeds=len(figures),
        worse=len(tested) - len(alike),
        alike=tuple(sorted(alike, key=lambda label: _order(known[label][1], metric, label))),
        too_few=len(untested),
        missed=sum(not math.isfinite(sum(other)) for _, other in known.values()),
        margin=margin,
        test_images=test_images,
        near=0 if margin is None else sum(abs(one - whole[top]) <= margin for one in untested),
    )


def _order(values: Sequence[float], metric: Metric, label: str) -> tuple[float, str]:
    return (-mean(values) if metric.higher else mean(values), label)


def _scaled(values: Sequence[float], metric: Metric) -> tuple[float, ...]:
    return tuple(math.log(max(value, 1e-9)) for value in values) if metric.ratio else tuple(values)


def _p(contrast: Contrast) -> float:
    return welch_p(contrast) if is_finite(contrast) else rank_sum([contrast])[1]


def _margin(outcome: Outcome, metric: Metric) -> tuple[float | None, int]:
    """Of a share of so many test images: the binomial's."""
    metrics = outcome.good[0].metrics
    assert metrics is not None
    images = sum(one.support for one in metrics.per_class)
    if metric.name != "accuracy" or not images:
        return None, images
    share = mean(outcome.values(metric)) / 100
    return 100 * Z95 * math.sqrt(share * (1 - share) / images), images


__all__ = ["Best", "best", "settings"]
