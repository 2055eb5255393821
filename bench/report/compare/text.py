"""A comparison as text: for a terminal, as Markdown or as HTML.

A comparison for machines. What is infinite, a missed target, or not known is null.
"""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal, get_args

from bench.errors import UsageError
from bench.report.compare.compare import METRICS, Comparison, Judgement, Row, Whole
from bench.report.compare.statistics import CELLS_NEEDED, Sample
from bench.report.render import Column, as_markdown, as_terminal, html, markdown
from bench.report.sentences import points
from bench.report.statistics.intervals import Interval
from bench.report.statistics.outcomes import SEEDS_NEEDED, TIME, Metric
from bench.text import count, printable
from pipelines.catalog import unknown_name


def as_json(found: Comparison) -> str:
    """Sides, differences, a row for each matched cell, all cells together, limits and notes."""
    plain = {
        "a": found.a.name,
        "b": found.b.name,
        "metric": found.metric.name,
        "differences": list(found.differences),
        "cells": [_compare_json_row(row) for row in found.rows],
        "all_cells": {name: _whole(whole) for name, whole in found.whole.items()},
        "only_a": list(found.matches.only_a),
        "only_b": list(found.matches.only_b),
        "several": list(found.matches.several),
        "notes": list(found.notes),
        "fail_on": [
            {
                "limit": one.limit.text,
                "broken": list(one.broken),
                "judged": one.judged,
                "too_few": one.too_few,
            }
            for one in found.judgements
        ],
    }
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"


def _compare_json_row(row: Row) -> dict[str, object]:
    return {
        "cell": row.match.label,
        "cell_a": row.match.a.cell.name,
        "cell_b": row.match.b.cell.name,
        "figures": {name: _sample(sample) for name, sample in row.samples.items()},
        "p": row.p,
        "verdict": row.verdict,
    }


def _sample(sample: Sample) -> dict[str, object]:
    found: dict[str, object] = {
        "seeds": list(sample.seeds),
        "a": _known(sample.centre("a")),
        "b": _known(sample.centre("b")),
        "test": sample.method,
    }
    if sample.metric is TIME:
        found["reached"] = list(sample.reached)
    return found | _compare_json_estimate(sample.difference, sample.interval(), sample.metric)


def _whole(whole: Whole) -> dict[str, object]:
    overall = whole.overall
    middle = math.nan if overall.middle is None else overall.middle
    return {
        "cells": len(overall.differences),
        "cells_with_a_figure": len(overall.known),
        **_compare_json_estimate(middle, overall.interval(), overall.metric),
        "p": whole.test.p if whole.test else None,
        "verdict": whole.verdict,
    }


def _compare_json_estimate(
    middle: float, interval: Interval | None, metric: Metric
) -> dict[str, object]:
    """The ratio b / a, or the difference in points, with its bounds."""
    name = "ratio" if metric.ratio else "points"
    if metric.ratio:
        interval = interval.as_ratio() if interval else None
        middle = math.exp(middle) if math.isfinite(middle) else math.nan
    return {
        name: _known(middle),
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


Form = Literal["rich", "md", "json", "html"]
ABSENT = "-"
BETTER = ("faster", "higher")
HEADERS = {
    "images_per_s": "images/s b/a",
    "train_s": "train s b/a",
    "time_to_accuracy_s": "time to accuracy b/a",
    "accuracy": "accuracy, points",
    "macro_f1": "macro F1, points",
}
PRIORITIES = {
    "macro_f1": 6,
    "train_s": 5,
    "time_to_accuracy_s": 3,
    "accuracy": 2,
    "images_per_s": 1,
}
SHOWN = {
    "images_per_s": ("images/s", 0), "train_s": ("train s", 2),
    "time_to_accuracy_s": ("time to accuracy s", 2), "accuracy": ("accuracy %", 2),
    "macro_f1": ("macro F1 %", 2),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Page:
    """What every form shows."""

    title: str
    above: tuple[str, ...]
    columns: dict[str, Column]
    cells: dict[str, list[str]]
    best: dict[str, set[int]]
    below: tuple[str, ...]


def check_form(form: str) -> None:
    """Refuses a form that there is none of.

    Raises:
        UsageError: It is unknown.
    """
    if form not in get_args(Form):
        raise UsageError(unknown_name("format", form, list(get_args(Form))))


def render(found: Comparison, form: str, *, width: int | None = None, color: bool = False) -> str:
    """The comparison as text.

    Args:
        found: What to show.
        form: "rich" for a terminal, "md", "json" or "html".
        width: Characters that "rich" may use; None for as many as it takes.
        color: Whether "rich" may use bold and colours.

    Raises:
        UsageError: An unknown form.
    """
    check_form(form)
    if form == "json":
        return as_json(found)
    page = _page(found)
    table = (page.columns, page.cells, page.best)
    if form == "md":
        shown = markdown(page.title, *table, notes=page.above)
        return "\n".join([shown, *(as_markdown(line, in_cell=False) + "\n" for line in page.below)])
    if form == "html":
        return html(page.title, page.above, *table) + "".join(
            f"<p>{escape(line)}</p>\n" for line in page.below
        )
    drawn = as_terminal("", *table, notes=page.below, width=width, color=color)
    head = [page.title, *page.above]
    lines = [part for line in head for part in (textwrap.wrap(line, width) if width else [line])]
    return "\n".join(lines) + "\n" + drawn.lstrip("\n")


def _page(found: Comparison) -> _Page:
    names = [metric.name for metric in METRICS if any(metric.name in r.samples for r in found.rows)]
    texts = [*(_row(row, found.metric, names) for row in found.rows), *_whole_row(found, names)]
    columns = _columns(found.metric, names)
    verdicts = [text["verdict"] for text in texts]
    best = {name: set[int]() for name in columns}
    best["verdict"] = {place for place, verdict in enumerate(verdicts) if verdict in BETTER}
    return _Page(
        title=f"b against a: {found.metric.label}",
        above=tuple(_above(found)),
        columns=columns,
        cells={name: [text[name] for text in texts] for name in columns},
        best=best,
        below=tuple(_below(found)),
    )


def _columns(metric: Metric, names: list[str]) -> dict[str, Column]:
    header, _ = SHOWN[metric.name]
    columns = {
        "cell": Column(header="cell"),
        "seeds": Column(header="seeds a, b", right=True, priority=4),
        "a": Column(header=f"{header} a", right=True, priority=7),
        "b": Column(header=f"{header} b", right=True, priority=7),
    }
    order = [metric.name, *(name for name in names if name != metric.name)]
    for name in order:
        priority = 0 if name == metric.name else PRIORITIES[name]
        columns[name] = Column(header=HEADERS[name], right=True, priority=priority)
    columns["p"] = Column(header="p", right=True, priority=8)
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
        "p": _chance(row.p),
        "verdict": row.verdict,
    }
    return texts | {
        name: _figure(row.samples[name]) if name in row.samples else ABSENT for name in names
    }


def _centre(sample: Sample | None, letter: Literal["a", "b"]) -> str:
    if sample is None:
        return ABSENT
    value = sample.centre(letter)
    digits = SHOWN[sample.metric.name][1]
    return "not reached" if math.isinf(value) else f"{value:,.{digits}f}"


def _chance(p: float | None) -> str:
    if p is None:
        return ABSENT
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _figure(sample: Sample) -> str:
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


def _whole_row(found: Comparison, names: list[str]) -> Iterator[dict[str, str]]:
    """All cells together, where there are two or more."""
    whole = found.whole.get(found.metric.name)
    if whole is None:
        return
    yield {
        "cell": f"all {len(whole.overall.differences)} cells",
        "seeds": "",
        "a": "",
        "b": "",
        "p": _chance(whole.test.p if whole.test else None),
        "verdict": whole.verdict,
    } | {
        name: _whole_figure(found.whole[name]) if name in found.whole else ABSENT for name in names
    }


def _whole_figure(whole: Whole) -> str:
    overall = whole.overall
    if overall.middle is None:
        return ABSENT
    text = _estimate(overall.middle, overall.interval(), overall.metric)
    missed = len(overall.differences) - len(overall.known)
    return f"{text} in {len(overall.known)} of {len(overall.differences)}" if missed else text


def _above(found: Comparison) -> Iterator[str]:
    for letter, side, outcomes in (
        ("a", found.a, [row.match.a for row in found.rows]),
        ("b", found.b, [row.match.b for row in found.rows]),
    ):
        runs = sum(len(outcome.good) for outcome in outcomes)
        cells = count(len(outcomes), "matched cell")
        yield f"{letter}: {printable(side.name)}, {count(runs, 'run')} of {cells}"
    if found.differences:
        yield f"The sides differ in {'; '.join(found.differences)}."
    else:
        yield "The sides differ in nothing that the records tell of."


def _below(found: Comparison) -> Iterator[str]:
    verdicts = Counter(row.verdict for row in found.rows)
    said = ", ".join(f"{verdict} in {number}" for verdict, number in verdicts.most_common())
    yield f"Verdicts on {found.metric.label} of b against a, by cell: {said}."
    yield from _how(found)
    yield from found.notes
    for judgement in found.judgements:
        yield _judged(judgement)


def _how(found: Comparison) -> Iterator[str]:
    tested = [row.samples[found.metric.name] for row in found.rows if row.p is not None]
    methods = ", ".join(sorted({sample.method for sample in tested}))
    cells = count(len(tested), "cell")
    yield (
        "Ratios are b / a, of geometric means; scores differ in points of a percent. In brackets: "
        "95 % intervals, each by itself."
        + (f" p and verdicts: {methods}, Holm's correction for {cells}." if tested else "")
    )
    if any(row.verdict == "too few seeds" for row in found.rows):
        yield (
            f"A claim about a cell needs {SEEDS_NEEDED} seeds on each side "
            f"(--seeds {SEEDS_NEEDED}), one about all cells {CELLS_NEEDED} cells."
        )
    if found.metric.name in found.whole:
        yield "All cells: the mean over cells, each weighing the same; its interval is over cells."


def _judged(one: Judgement) -> str:
    head = f"--fail-on {one.limit.text}: "
    too_few = f"; {one.too_few} with too few seeds to judge" if one.too_few else ""
    if one.broken:
        return f"{head}broken by {', '.join(one.broken)}{too_few}."
    if not one.judged:
        return f"{head}cannot be judged{too_few}."
    return f"{head}not broken, {count(one.judged, 'test')} of it{too_few}."
