"""A comparison as text: for a terminal, as Markdown, or as JSON for machines.

In JSON, what is unknown or infinite (a missed target) is null.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from bench.errors import check_choice
from bench.report.columns import TIME, Column, Metric
from bench.report.compare.compare import METRICS, Comparison, Judged, LimitResult, Row
from bench.report.compare.statistics import CELLS_NEEDED, Estimate, Overall, Sample
from bench.report.render import ABSENT, NOT_REACHED, Table, as_markdown, wrapped
from bench.report.statistics.intervals import SEEDS_NEEDED
from bench.text import count, points, printable

FORMS = ("rich", "md", "json")
BETTER = ("faster", "higher")


def render(
    comparison: Comparison, form: str, *, width: int | None = None, color: bool = False
) -> str:
    """The comparison as text; `width` and `color` are for the terminal.

    Raises:
        UsageError: The format is unknown.
    """
    check_choice("format", form, FORMS)
    if form == "json":
        return json.dumps(_as_json(comparison), indent=1, allow_nan=False) + "\n"
    title = f"b against a: {comparison.metric.label}"
    above, below = list(_above(comparison)), list(_below(comparison))
    table = _table(comparison)
    if form == "md":
        text = replace(table, title=title, notes=above).markdown()
        return "\n".join([text, *(as_markdown(line, in_cell=False) + "\n" for line in below)])
    drawn = replace(table, notes=below).terminal(width=width, color=color)
    lines = [part for line in (title, *above) for part in wrapped(line, width)]
    return "\n".join([*lines, drawn.lstrip("\n")])


def _as_json(comparison: Comparison) -> dict[str, Any]:
    matches = comparison.matches
    return {
        "a": comparison.a.name,
        "b": comparison.b.name,
        "metric": comparison.metric.name,
        "differences": comparison.differences,
        "cells": [
            {
                "cell": row.match.label,
                "cell_a": row.match.a.cell.name,
                "cell_b": row.match.b.cell.name,
                "figures": {name: _estimate_as_json(one) for name, one in row.samples.items()},
                "p": row.judged.p,
                "verdict": row.judged.verdict,
            }
            for row in comparison.rows
        ],
        "all_cells": {
            name: {**_estimate_as_json(one.estimate), "p": one.p, "verdict": one.verdict}
            for name, one in comparison.overall.items()
            if one.estimate is not None
        },
        "only_a": matches.only_a,
        "only_b": matches.only_b,
        "several": matches.ambiguous,
        "notes": comparison.notes,
        "fail_on": [
            {"limit": one.limit.text, "broken": one.broken, "judged": one.tested,
             "too_few": one.too_few}
            for one in comparison.limits
        ],
    }  # fmt: skip


def _estimate_as_json(estimate: Estimate) -> dict[str, Any]:
    """The ratio b / a, or the difference in points, with its bounds."""
    fields: dict[str, Any]
    if isinstance(estimate, Overall):
        known = len(estimate.known)
        fields = {"cells": len(estimate.differences), "cells_with_a_figure": known}
    else:
        centres = (estimate.centre("a"), estimate.centre("b"))
        a, b = (value if math.isfinite(value) else None for value in centres)
        fields = {"seeds": estimate.seeds, "a": a, "b": b, "test": estimate.method}
        if estimate.metric is TIME:
            fields["reached"] = estimate.reached
    middle, bounds = _shown(estimate)
    low, high = bounds or (None, None)
    name = "ratio" if estimate.metric.ratio else "points"
    return {**fields, name: middle, "low": low, "high": high}


def _shown(estimate: Estimate) -> tuple[float | None, tuple[float, float] | None]:
    """The ratio b / a or the difference in points, and its bounds; None if unknown."""
    middle, interval, ratio = estimate.difference, estimate.interval(), estimate.metric.ratio
    if interval and ratio:
        interval = interval.as_ratio()
    bounds = (interval.low, interval.high) if interval else None
    if not math.isfinite(middle):
        return None, bounds
    return math.exp(middle) if ratio else middle, bounds


def _table(comparison: Comparison) -> Table:
    metric = comparison.metric
    shown = [m for m in METRICS if any(m.name in row.samples for row in comparison.rows)]
    texts = [_row(row, metric, shown) for row in comparison.rows]
    if metric.name in comparison.overall:
        texts.append(_overall_row(comparison, shown))
    columns = _columns(metric, shown)
    return Table(
        columns=columns,
        cells={name: [text.get(name, "") for text in texts] for name in columns},
        best={"verdict": {at for at, text in enumerate(texts) if text["verdict"] in BETTER}},
    )


def _columns(metric: Metric, shown: Sequence[Metric]) -> dict[str, Column]:
    columns = {
        "cell": Column(header="cell"),
        "seeds": Column(header="seeds a, b", kind="count", priority=4),
        "a": Column(header=f"{metric.header} a", kind="count", priority=7),
        "b": Column(header=f"{metric.header} b", kind="count", priority=7),
    }
    for each in [metric, *(each for each in shown if each is not metric)]:
        header = f"{each.header.removesuffix(' s')} b/a" if each.ratio else f"{each.label}, points"
        priority = 0 if each is metric else 1 + each.priority
        columns[each.name] = Column(header=header, kind="count", priority=priority)
    columns["p"] = Column(header="p", kind="count", priority=8)
    columns["verdict"] = Column(header="verdict")
    return columns


def _row(row: Row, metric: Metric, shown: Sequence[Metric]) -> dict[str, str]:
    sample = row.samples.get(metric.name)
    a, b = (len(row.match.a.good), len(row.match.b.good)) if sample is None else sample.seeds
    return {
        "cell": row.match.label,
        "seeds": f"{a}, {b}",
        "a": _centre(sample, "a"),
        "b": _centre(sample, "b"),
        **{each.name: _estimate(row.samples.get(each.name)) for each in shown},
        **_verdict(row.judged),
    }


def _overall_row(comparison: Comparison, shown: Sequence[Metric]) -> dict[str, str]:
    found, judged = comparison.overall, comparison.overall[comparison.metric.name]
    cells = len(judged.estimate.differences) if isinstance(judged.estimate, Overall) else 0
    estimates = {m.name: found[m.name].estimate if m.name in found else None for m in shown}
    texts = {name: _estimate(one) for name, one in estimates.items()}
    return {"cell": f"all {cells} cells", **texts, **_verdict(judged)}


def _verdict(judged: Judged) -> dict[str, str]:
    p = ABSENT if judged.p is None else f"{judged.p:.3f}" if judged.p >= 0.001 else "<0.001"
    return {"p": p, "verdict": judged.verdict}


def _centre(sample: Sample | None, letter: Literal["a", "b"]) -> str:
    if sample is None:
        return ABSENT
    value = sample.centre(letter)
    return NOT_REACHED if math.isinf(value) else f"{value:,.{sample.metric.digits}f}"


def _estimate(estimate: Estimate | None) -> str:
    if isinstance(estimate, Sample) and estimate.method == "Mann-Whitney":
        (a, b), seeds = estimate.reached, estimate.seeds
        return f"reached {a}/{seeds[0]}, {b}/{seeds[1]}"
    middle, bounds = (None, None) if estimate is None else _shown(estimate)
    if estimate is None or middle is None:
        return ABSENT
    written = "{:.3f}".format if estimate.metric.ratio else points
    text = written(middle) + (f" ({written(bounds[0])} to {written(bounds[1])})" if bounds else "")
    if isinstance(estimate, Overall) and len(estimate.known) < len(estimate.differences):
        text += f" in {len(estimate.known)} of {len(estimate.differences)}"
    return text


def _above(comparison: Comparison) -> Iterator[str]:
    matches = [row.match for row in comparison.rows]
    for letter, side, outcomes in (
        ("a", comparison.a, [match.a for match in matches]),
        ("b", comparison.b, [match.b for match in matches]),
    ):
        runs = sum(len(outcome.good) for outcome in outcomes)
        cells = count(len(outcomes), "matched cell")
        yield f"{letter}: {printable(side.name)}, {count(runs, 'run')} of {cells}"
    if comparison.differences:
        yield f"The sides differ in {'; '.join(comparison.differences)}."
    else:
        yield "The records of both sides differ in nothing but their seeds and results."


def _below(comparison: Comparison) -> Iterator[str]:
    verdicts = Counter(row.judged.verdict for row in comparison.rows)
    counts = ", ".join(f"{verdict} in {number}" for verdict, number in verdicts.most_common())
    yield f"Verdicts on {comparison.metric.label} of b against a, by cell: {counts}."
    tested = [
        row.samples[comparison.metric.name] for row in comparison.rows if row.judged.p is not None
    ]
    methods = ", ".join(sorted({sample.method for sample in tested}))
    cells = count(len(tested), "cell")
    yield (
        "Ratios are b / a of geometric means; scores differ in percentage points. In brackets: "
        "95 % confidence intervals, not corrected for their number."
        + (f" p and verdicts: {methods}, Holm's correction for {cells}." if tested else "")
    )
    if "too few seeds" in verdicts:
        yield (
            f"A claim about a cell needs {SEEDS_NEEDED} seeds on each side "
            f"(--seeds {SEEDS_NEEDED}), a claim about all cells needs {CELLS_NEEDED} cells."
        )
    if comparison.metric.name in comparison.overall:
        yield "All cells: the unweighted mean over cells; its interval is over cells."
    yield from comparison.notes
    yield from map(_limit_text, comparison.limits)


def _limit_text(result: LimitResult) -> str:
    head = f"--fail-on {result.limit.text}: "
    too_few = f"; {result.too_few} with too few seeds to judge" if result.too_few else ""
    if result.broken:
        return f"{head}broken by {', '.join(result.broken)}{too_few}."
    if not result.tested:
        return f"{head}cannot be judged{too_few}."
    return f"{head}not broken in {count(result.tested, 'test')}{too_few}."
