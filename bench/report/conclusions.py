"""What the records show beyond answers, figures and tables, in sentences."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.record import Record
from bench.report.caveats import caveats
from bench.report.columns import ACCURACY, TIME, Metric
from bench.report.statistics.effects import (
    Outcomes,
    best,
    effects,
    outcomes_by_group,
    ranking_groups,
)
from bench.report.statistics.intervals import ALPHA, SEEDS_NEEDED
from bench.text import code, count, listed


def conclude(
    records: Sequence[Record], measured: pd.DataFrame | None = None
) -> dict[str, list[str]]:
    """Sentences about the records of a page, by section; names are between backticks.

    Each group of machine, scale and source is treated separately, and named if there are several.
    """
    found: dict[str, list[str]] = {"Best cells": [], "Effects": [], "Caveats": []}
    groups = outcomes_by_group(records)
    for name, outcomes in groups.items():
        prefix = f"{', '.join(filter(None, name))}: " if len(groups) > 1 else ""
        good = [outcome for outcome in outcomes if outcome.good]
        for metric in (ACCURACY, TIME):
            for words, group in ranking_groups(good, metric):
                if text := _best_text(group, metric):
                    found["Best cells"].append(f"{prefix}{words}{': ' if words else ''}{text}")
        found["Caveats"] += [prefix + text for text in caveats(outcomes)]
    found["Effects"] += _effects(effects(records) if measured is None else measured)
    return {section: texts for section, texts in found.items() if texts}


def _best_text(outcomes: Outcomes, metric: Metric) -> str:
    """The best cell and how the others compare with it; "" if none is the best."""
    found = best(outcomes, metric)
    if found is None:
        return ""
    value = f"{found.value:.{metric.decimals(found.value)}f} {'s' if metric is TIME else '%'}"
    seeds = count(found.seeds, "seed")
    texts = [f"Best {metric.label}: {code(found.outcome.label)} with {value} ({seeds})"]
    tied = [label for label, p in found.p.items() if p >= ALPHA]
    if tied:
        texts.append(f"statistically tied with it: {listed(tied)}")
    if len(tied) < len(found.p):
        test = "Welch's test, Tamhane's correction for all pairs"
        texts.append(f"{len(found.p) - len(tied)} of {count(len(found.p), 'cell')} worse ({test})")
    if found.missed:
        missed = count(found.missed, "cell")
        texts.append(f"{missed} missed the target with every seed, which counts as worse")
    if found.uncompared:
        few = f"not {SEEDS_NEEDED} good{' and trusted' * metric.timing} seeds on both sides"
        texts.append(f"{count(found.uncompared, 'cell')} cannot be compared ({few})")
    return "; ".join(texts) + "."


def _effects(frame: pd.DataFrame) -> Iterator[str]:
    """How many effects are significant."""
    tested = int(frame["p"].notna().sum())
    if tested:
        claims = int(frame["verdict"].isin(["higher", "lower"]).sum())
        yield (
            f"{claims} of {count(tested, 'tested effect')} {'is' if claims == 1 else 'are'} "
            "significant (Holm's correction over all of this page). An effect is the mean over "
            "matched cells, those of one net averaged first; an interval is of its effect alone."
        )
