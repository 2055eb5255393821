"""A comparison as text: for a terminal, as Markdown, or as JSON for machines.

In JSON, what is unknown or infinite (a missed target) is null.
"""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from bench.errors import UsageError
from bench.report.columns import TIME, Column, Metric
from bench.report.compare.compare import METRICS, Comparison, LimitResult, OverallRow, Row
from bench.report.compare.statistics import CELLS_NEEDED, Sample
from bench.report.render import Table, as_markdown
from bench.report.statistics.intervals import SEEDS_NEEDED, Interval
from bench.text import count, points, printable
from pipelines.catalog import unknown_name

Format = Literal["rich", "md", "json"]
ABSENT = "-"
BETTER = ("faster", "higher")


@dataclass(frozen=True)
class _Style:
    """How a metric is shown."""

    ratio_header: str  # of the column of b against a
    value_header: str  # of a side's own values
    digits: int
    priority: int  # a narrow terminal drops the highest first


STYLES = {
    "images_per_s": _Style("images/s b/a", "images/s", 0, 1),
    "train_s": _Style("train s b/a", "train s", 2, 5),
    "time_to_accuracy_s": _Style("time to accuracy b/a", "time to accuracy s", 2, 3),
    "accuracy": _Style("accuracy, points", "accuracy %", 2, 2),
    "macro_f1": _Style("macro F1, points", "macro F1 %", 2, 6),
}


def check_format(form: str) -> None:
    """Raises UsageError if the format is unknown."""
    if form not in get_args(Format):
        raise UsageError(unknown_name("format", form, list(get_args(Format))))


def render(
    comparison: Comparison, form: str, *, width: int | None = None, color: bool = False
) -> str:
    """The comparison as text; `width` and `color` are for the terminal.

    Raises:
        UsageError: The format is unknown.
    """
    check_format(form)
    if form == "json":
        return json.dumps(_as_json(comparison), indent=1, allow_nan=False) + "\n"
    title = f"b against a: {comparison.metric.label}"
    above, below = list(_above(comparison)), list(_below(comparison))
    table = _table(comparison)
    if form == "md":
        text = replace(table, title=title, notes=above).markdown()
        return "\n".join([text, *(as_markdown(line, in_cell=False) + "\n" for line in below)])
    drawn = replace(table, notes=below).terminal(width=width, color=color)
    lines = [
        part
        for line in (title, *above)
        for part in (textwrap.wrap(line, width) if width else [line])
    ]
    return "\n".join(lines) + "\n" + drawn.lstrip("\n")


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "a": comparison.a.name,
        "b": comparison.b.name,
        "metric": comparison.metric.name,
        "differences": list(comparison.differences),
        "cells": [
            {
                "cell": row.match.label,
                "cell_a": row.match.a.cell.name,
                "cell_b": row.match.b.cell.name,
                "figures": {name: _sample_as_json(each) for name, each in row.samples.items()},
                "p": row.p,
                "verdict": row.verdict,
            }
            for row in comparison.rows
        ],
        "all_cells": {name: _overall_as_json(row) for name, row in comparison.overall.items()},
        "only_a": list(comparison.matches.only_a),
        "only_b": list(comparison.matches.only_b),
        "several": list(comparison.matches.ambiguous),
        "notes": list(comparison.notes),
        "fail_on": [
            {
                "limit": result.limit.text,
                "broken": list(result.broken),
                "judged": result.tested,
                "too_few": result.too_few,
            }
            for result in comparison.limits
        ],
    }


def _sample_as_json(sample: Sample) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "seeds": list(sample.seeds),
        "a": _finite(sample.centre("a")),
        "b": _finite(sample.centre("b")),
        "test": sample.method,
    }
    if sample.metric is TIME:
        fields["reached"] = list(sample.reached)
    return fields | _estimate_as_json(sample.difference, sample.interval(), sample.metric)


def _overall_as_json(row: OverallRow) -> dict[str, Any]:
    overall = row.overall
    middle = math.nan if overall.middle is None else overall.middle
    return {
        "cells": len(overall.differences),
        "cells_with_a_figure": len(overall.known),
        **_estimate_as_json(middle, overall.interval(), overall.metric),
        "p": row.test.p if row.test else None,
        "verdict": row.verdict,
    }


def _estimate_as_json(middle: float, interval: Interval | None, metric: Metric) -> dict[str, Any]:
    """The ratio b / a, or the difference in points, with its bounds."""
    if metric.ratio:
        interval = interval.as_ratio() if interval else None
        middle = math.exp(middle) if math.isfinite(middle) else math.nan
    return {
        "ratio" if metric.ratio else "points": _finite(middle),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _table(comparison: Comparison) -> Table:
    rows, metric = comparison.rows, comparison.metric
    names = [each.name for each in METRICS if any(each.name in row.samples for row in rows)]
    texts = [*(_row(row, metric, names) for row in rows), *_overall_texts(comparison, names)]
    columns = _columns(metric, names)
    return Table(
        columns=columns,
        cells={name: [text[name] for text in texts] for name in columns},
        best={"verdict": {at for at, text in enumerate(texts) if text["verdict"] in BETTER}},
    )


def _columns(metric: Metric, names: list[str]) -> dict[str, Column]:
    header = STYLES[metric.name].value_header
    columns = {
        "cell": Column(header="cell"),
        "seeds": Column(header="seeds a, b", kind="count", priority=4),
        "a": Column(header=f"{header} a", kind="count", priority=7),
        "b": Column(header=f"{header} b", kind="count", priority=7),
    }
    for name in [metric.name, *(name for name in names if name != metric.name)]:
        priority = 0 if name == metric.name else STYLES[name].priority
        columns[name] = Column(header=STYLES[name].ratio_header, kind="count", priority=priority)
    columns["p"] = Column(header="p", kind="count", priority=8)
    columns["verdict"] = Column(header="verdict")
    return columns


def _row(row: Row, metric: Metric, names: list[str]) -> dict[str, str]:
    sample = row.samples.get(metric.name)
    seeds = (len(row.match.a.good), len(row.match.b.good)) if sample is None else sample.seeds
    texts = {
        "cell": row.match.label,
        "seeds": f"{seeds[0]}, {seeds[1]}",
        "a": _centre(sample, "a"),
        "b": _centre(sample, "b"),
        "p": _p(row.p),
        "verdict": row.verdict,
    }
    return texts | {
        name: _sample_text(row.samples[name]) if name in row.samples else ABSENT for name in names
    }


def _centre(sample: Sample | None, letter: Literal["a", "b"]) -> str:
    if sample is None:
        return ABSENT
    value = sample.centre(letter)
    digits = STYLES[sample.metric.name].digits
    return "not reached" if math.isinf(value) else f"{value:,.{digits}f}"


def _p(p: float | None) -> str:
    if p is None:
        return ABSENT
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _sample_text(sample: Sample) -> str:
    if sample.method == "Mann-Whitney":
        a, b = sample.reached
        return f"reached {a}/{sample.seeds[0]}, {b}/{sample.seeds[1]}"
    return _estimate(sample.difference, sample.interval(), sample.metric)


def _estimate(middle: float, interval: Interval | None, metric: Metric) -> str:
    if metric.ratio:
        bounds = interval.as_ratio() if interval else None
        text = f"{math.exp(middle):.3f}"
        return text + (f" ({bounds.low:.3f} to {bounds.high:.3f})" if bounds else "")
    text = points(middle)
    return text + (f" ({points(interval.low)} to {points(interval.high)})" if interval else "")


def _overall_texts(comparison: Comparison, names: list[str]) -> Iterator[dict[str, str]]:
    """The row of all cells together, if there are two or more."""
    row = comparison.overall.get(comparison.metric.name)
    if row is None:
        return
    estimates = {name: _overall_estimate(comparison.overall.get(name)) for name in names}
    yield {
        "cell": f"all {len(row.overall.differences)} cells",
        "seeds": "",
        "a": "",
        "b": "",
        "p": _p(row.test.p if row.test else None),
        "verdict": row.verdict,
        **estimates,
    }


def _overall_estimate(row: OverallRow | None) -> str:
    if row is None or row.overall.middle is None:
        return ABSENT
    overall = row.overall
    text = _estimate(row.overall.middle, overall.interval(), overall.metric)
    missed = len(overall.differences) - len(overall.known)
    return f"{text} in {len(overall.known)} of {len(overall.differences)}" if missed else text


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
    verdicts = Counter(row.verdict for row in comparison.rows)
    counts = ", ".join(f"{verdict} in {number}" for verdict, number in verdicts.most_common())
    yield f"Verdicts on {comparison.metric.label} of b against a, by cell: {counts}."
    yield from _method(comparison)
    yield from comparison.notes
    for result in comparison.limits:
        yield _limit_text(result)


def _method(comparison: Comparison) -> Iterator[str]:
    name = comparison.metric.name
    tested = [row.samples[name] for row in comparison.rows if row.p is not None]
    methods = ", ".join(sorted({sample.method for sample in tested}))
    cells = count(len(tested), "cell")
    yield (
        "Ratios are b / a of geometric means; scores differ in percentage points. In brackets: "
        "95 % confidence intervals, not corrected for their number."
        + (f" p and verdicts: {methods}, Holm's correction for {cells}." if tested else "")
    )
    if any(row.verdict == "too few seeds" for row in comparison.rows):
        yield (
            f"A claim about a cell needs {SEEDS_NEEDED} seeds on each side "
            f"(--seeds {SEEDS_NEEDED}), a claim about all cells needs {CELLS_NEEDED} cells."
        )
    if name in comparison.overall:
        yield "All cells: the unweighted mean over cells; its interval is over cells."


def _limit_text(result: LimitResult) -> str:
    head = f"--fail-on {result.limit.text}: "
    too_few = f"; {result.too_few} with too few seeds to judge" if result.too_few else ""
    if result.broken:
        return f"{head}broken by {', '.join(result.broken)}{too_few}."
    if not result.tested:
        return f"{head}cannot be judged{too_few}."
    return f"{head}not broken in {count(result.tested, 'test')}{too_few}."
