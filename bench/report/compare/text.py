"""A comparison as text: for a terminal, as Markdown, or as CSV and JSON for machines.

In JSON, what is unknown or infinite (a missed target) is null.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pandas as pd

from bench.report.columns import Column
from bench.report.compare.compare import BETTER, METRICS, WORSE, Comparison, Difference, Limit, Row
from bench.report.render import ABSENT, NOT_REACHED, Table, as_markdown, csv
from bench.report.statistics.intervals import SEEDS_NEEDED
from bench.text import count, points

FORMS = ("rich", "md", "csv", "json")
IMAGES = "same images, points"


def render(
    comparison: Comparison,
    form: str,
    *,
    every: bool = False,
    width: int | None = None,
    color: bool = False,
) -> str:
    """The comparison as text; `every` shows cells without a verdict too."""
    if form == "json":
        text = msgspec.json.encode(_as_json(comparison))  # writes infinity as null
        return msgspec.json.format(text, indent=1).decode() + "\n"
    if form == "csv":
        return csv(pd.json_normalize(_as_json(comparison)["cells"]))
    every |= len(comparison.rows) == 1
    rows = [row for row in comparison.rows if every or row.is_sure]
    notes = [*_notes(comparison), *comparison.notes, *map(_limit, comparison.limits)]
    if folded := [row.verdict for row in comparison.rows if not (every or row.is_sure)]:
        cells = count(len(folded), "cell")
        notes.insert(0, f"{cells} without a verdict: {_counts(folded)} (--all shows them).")
    sides = [f"a: {comparison.a.name}", f"b: {comparison.b.name}"]
    table = replace(_table(comparison, rows), title=_verdict(comparison), head=sides)
    if form == "md":
        after = [as_markdown(note, in_cell=False) + "\n" for note in notes]
        return "\n".join([table.markdown(), *after])
    return replace(table, notes=notes).terminal(width=width, color=color)


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "a": comparison.a.name,
        "b": comparison.b.name,
        "metric": comparison.metric.name,
        "differences": comparison.differences,
        "cells": [
            {
                "cell": row.label,
                "cell_a": row.names[0],
                "cell_b": row.names[1],
                "figures": {name: _fields(one) for name, one in row.found.items()},
                "same_images": row.images and _fields(row.images),
                "p": row.judged and row.judged.p,
                "verdict": row.verdict,
            }
            for row in comparison.rows
        ],
        "all_cells": {name: _fields(one) for name, one in comparison.overall.found.items()},
        **comparison.unmatched,
        "notes": comparison.notes,
        "fail_on": [
            {"limit": one.text, "broken": one.broken, "judged": one.tested, "too_few": one.too_few}
            for one in comparison.limits
        ],
    }


def _fields(found: Difference) -> dict[str, Any]:
    """The ratio b / a, or the difference in points, with its bounds and test."""
    return {
        **found.facts,
        "ratio" if found.metric.ratio else "points": found.middle if found.known else None,
        "low": found.interval and found.interval.low,
        "high": found.interval and found.interval.high,
        "p": found.p,
        "verdict": found.verdict,
    }


def _table(comparison: Comparison, shown: Sequence[Row]) -> Table:
    metric, overall = comparison.metric, comparison.overall
    rows = [*shown, overall] if overall.judged else shown
    judged, images = [row.judged for row in rows], [row.images for row in rows]
    names = {
        each: f"{each.header.removesuffix(' s')} b/a" if each.ratio else f"{each.label}, points"
        for each in METRICS.values()
    }
    cells = {
        "cell": [row.label for row in rows],
        names[metric]: list(map(_difference, judged)),
        "p": list(map(_p, judged)),
        "verdict": [row.verdict for row in rows],
        f"{metric.header} a": [_fact(one, "a") for one in judged],
        f"{metric.header} b": [_fact(one, "b") for one in judged],
        "seeds a, b": [_fact(one, "seeds") for one in judged],
        IMAGES: list(map(_difference, images)),
        "discordant images": [_fact(one, "discordant") for one in images],
        "p over images": list(map(_p, images)),
    }
    for other, name in names.items():
        if other is not metric:
            cells[name] = [_difference(row.found.get(other.name)) for row in rows]
    better, worse = (
        {
            "verdict": {at for at, row in enumerate(rows) if row.verdict in words},
            IMAGES: {at for at, one in enumerate(images) if one and one.verdict in words},
        }
        for words in (BETTER, WORSE)
    )
    columns = {
        name: Column(header=name, kind="text" if name in ("cell", "verdict") else "count")
        for name, texts in cells.items()
        if set(texts) != {ABSENT}
    }
    return Table(columns=columns, cells=cells, best=better, worse=worse)


def _difference(found: Difference | None) -> str:
    """With its interval in brackets."""
    if found and found.facts.get("test") == "Mann-Whitney":
        sides = zip(found.facts["reached"], found.facts["seeds"], strict=True)
        return "reached " + ", ".join(f"{reached}/{seeds}" for reached, seeds in sides)
    if found is None or not found.known:
        return ABSENT
    written = "{:.3f}".format if found.metric.ratio else points
    text, interval = written(found.middle), found.interval
    return f"{text} ({written(interval.low)} to {written(interval.high)})" if interval else text


def _p(found: Difference | None) -> str:
    if found is None or found.p is None:
        return ABSENT
    return f"{found.p:.3f}" if found.p >= 0.001 else "<0.001"


def _fact(found: Difference | None, name: str) -> str:
    value = found.facts.get(name) if found else None
    if found is None or value is None:
        return ABSENT
    if name == "discordant":
        return f"{value:,} of {found.facts['images']:,}"
    if name == "seeds":
        return ", ".join(map(str, value))
    return NOT_REACHED if math.isinf(value) else f"{value:,.{found.metric.decimals(value)}f}"


def _claims(verdicts: Sequence[str]) -> str:
    """The claims among verdicts: "faster in 2 and slower in 1"; "" for none."""
    return _counts([one for one in verdicts if one in (*BETTER, *WORSE)]).replace(", ", " and ")


def _counts(verdicts: Sequence[str]) -> str:
    return ", ".join(f"{word} in {number}" for word, number in Counter(verdicts).most_common())


def _verdict(comparison: Comparison) -> str:
    """Which side is better, in how many cells and by how much, in a sentence."""
    metric, verdicts = comparison.metric, [row.verdict for row in comparison.rows]
    whole = comparison.overall if comparison.overall.judged else comparison.rows[0]
    cells = count(len(verdicts), "cell")
    if claims := _claims(verdicts):
        text = f"{'b' if metric.timing else f'the {metric.label} of b'} is {claims} of {cells}"
    else:
        text = f"b has no verdict on {metric.label} in any of {cells} ({_counts(verdicts)})"
    if whole.judged and whole.judged.known:
        size = f"times the {metric.label} of a" if metric.ratio else "points"
        text += f"; {whole.label}: {_difference(whole.judged)} {size}, {whole.verdict}"
    return f"Against a, {text}."


def _notes(comparison: Comparison) -> Iterator[str]:
    rows, overall = comparison.rows, comparison.overall.judged
    if images := [row.images for row in rows if row.images]:
        claims = _claims([one.verdict for one in images]) or "no verdict in any"
        methods = " or ".join(sorted({one.facts["test"] for one in images}))
        yield (
            f"Over the same test images ({methods}, Holm's correction over cells), the accuracy of "
            f"b's trained networks: {claims} of {count(len(images), 'cell')}. That holds for these "
            "networks on images like these; it says nothing about other seeds or the recipe."
        )
    changes = "; ".join(comparison.differences)
    yield f"The sides differ in {changes or 'nothing but their seeds and results'}."
    whole = f" The mean over cells is tested over {overall.facts['over']}." if overall else ""
    yield (
        "Ratios are b / a of geometric means. In brackets: 95 % intervals, not corrected for their "
        f"number. p of a cell: over seeds, with Holm's correction over cells.{whole}"
    )
    if any(one and one.test is None for one in (overall, *(row.judged for row in rows))):
        yield (
            f"A claim about a cell needs {SEEDS_NEEDED} seeds on each side "
            f"(--seeds {SEEDS_NEEDED}), one about all cells as many seeds or nets."
        )


def _limit(limit: Limit) -> str:
    too_few = f"; {limit.too_few} with too few seeds to judge" if limit.too_few else ""
    result = f"not broken in {count(limit.tested, 'test')}" if limit.tested else "cannot be judged"
    if limit.broken:
        result = f"broken by {', '.join(limit.broken)}"
    return f"--fail-on {limit.text}: {result}{too_few}."
