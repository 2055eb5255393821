"""What the records show beyond answers and effects, in sentences, and the caveats."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.record import Record
from bench.report.caveats import caveats
from bench.report.columns import ACCURACY, TIME, Metric
from bench.report.rows import PIPELINE_BOUND_PCT, bound_by
from bench.report.statistics.effects import TOO_FEW, effects
from bench.report.statistics.intervals import SEEDS_NEEDED
from bench.report.statistics.outcomes import Outcomes, best, outcomes_by_group, ranking_groups
from bench.text import code, count, listed

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("best", "effects", "pipelines", "caveats")
BEST = {  # metrics whose best cell is named, and the figures that show it
    ACCURACY: ("accuracy_architecture_optimizer",),
    TIME: ("time_to_accuracy", "time_to_accuracy_s_architecture_optimizer"),
}


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
    found: list[Conclusion] = []
    for name, outcomes in groups.items():
        prefix = f"{', '.join(filter(None, name))}: " if len(groups) > 1 else ""
        found += [replace(one, text=prefix + one.text) for one in _of_group(outcomes)]
    found += _effects(effects(records) if measured is None else measured)
    return sorted(found, key=lambda one: KINDS.index(one.kind))


def _of_group(outcomes: Outcomes) -> Iterator[Conclusion]:
    good = [outcome for outcome in outcomes if outcome.good]
    if not good:
        runs = count(sum(len(outcome.runs) for outcome in outcomes), "run")
        text = f"None of {runs} succeeded: there is nothing to compare."
        yield Conclusion(kind="best", text=text)
    for metric, figures in BEST.items():
        for words, group in ranking_groups(good, metric):
            if text := _best_text(group, metric):
                prefix = f"With {words}: " if words else ""
                yield Conclusion(kind="best", text=prefix + text, figures=figures)
    if text := _stalls(good):
        yield Conclusion(kind="pipelines", text=text, figures=("pipelines_throughput",))
    for text in caveats(outcomes):
        yield Conclusion(kind="caveats", text=text)


def _best_text(outcomes: Outcomes, metric: Metric) -> str:
    """The best cell and how the others compare with it; "" if none is the best."""
    found = best(outcomes, metric)
    if found is None:
        return ""
    value = f"{found.value:.1f} s" if metric is TIME else f"{found.value:.2f} %"
    texts = [
        f"Best {metric.label}: {code(found.outcome.label)} with {value} "
        f"({count(found.seeds, 'seed')})"
    ]
    others = count(found.others, "other cell")
    if found.tied:
        texts.append(f"statistically tied with it: {listed(found.tied)}")
    if found.worse:
        test = "Welch's test, Tamhane's correction for all pairs"
        texts.append(f"{len(found.worse)} of {others} worse ({test})")
    if found.missed:
        trusted = [outcome for outcome in outcomes if outcome.trusted and outcome.with_target]
        missed = sum(outcome.label in found.missed for outcome in trusted)
        texts.append(
            f"of {count(len(trusted), 'cell')} with trusted timings {missed} missed the target "
            f"with every seed ({len(found.missed)} of all {len(outcomes)}), which counts as worse"
        )
    if found.partly:
        texts.append(f"{len(found.partly)} missed it with some seeds and cannot be compared")
    if found.too_few:
        few = f"fewer than {SEEDS_NEEDED} {'trusted ' if metric.timing else ''}seeds on a side"
        texts.append(f"{len(found.too_few)} of {others} cannot be compared ({few})")
    return "; ".join(texts) + "."


def _stalls(good: Outcomes) -> str:
    """Which cells wait for data most; "" if that is unknown."""
    stalls = {one.label: pct for one in good if (pct := one.mean("stall_pct")) is not None}
    if not stalls:
        return ""
    bound = [label for label, percent in stalls.items() if bound_by(percent) == "pipeline"]
    text = (
        f"{len(bound)} of {count(len(stalls), 'cell')} with trusted timings waited for data for "
        f"{PIPELINE_BOUND_PCT:.0f} % of the training time or more"
        + (f": {listed(bound)}." if bound else ".")
    )
    lowest = min(stalls.values())
    noise = f" The lowest stall is {lowest:.1f} %, so differences this small are noise."
    return text + (noise if lowest < 0 else "")


def _effects(frame: "pd.DataFrame") -> Iterator[Conclusion]:
    """How many effects are significant, and which have no test."""
    tested = int(frame["p"].notna().sum())
    if tested:
        claims = int(frame["verdict"].isin(["higher", "lower"]).sum())
        text = (
            f"{claims} of {count(tested, 'tested effect')} {'is' if claims == 1 else 'are'} "
            "significant (Holm's correction over all of this page). An effect is the mean over "
            "matched cells, those of one net averaged first; an interval is of its effect alone."
        )
        yield Conclusion(kind="effects", text=text, figures=("effects",))
    untested: dict[str, dict[str, None]] = defaultdict(dict)
    for row in frame[frame["verdict"] == TOO_FEW].to_dict("records"):
        why = (
            "too few nets and seeds" if row["cells"] else f"no cells differ only in {row['factor']}"
        )
        untested[why][f"{row['level']} instead of {row['reference']}"] = None
    for why, names in untested.items():
        yield Conclusion(kind="effects", text=f"Not tested, {why}: {listed([*names])}.")
