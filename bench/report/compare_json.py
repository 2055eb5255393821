"""A comparison for machines. What is infinite, a missed target, or not known is null."""

import json
import math

from bench.report.compare import Comparison, Row, Whole
from bench.report.compare_statistics import Sample
from bench.report.intervals import Interval
from bench.report.outcomes import TIME, Metric


def as_json(found: Comparison) -> str:
    """Sides, differences, a row for each matched cell, all cells together, limits and notes."""
    plain = {
        "a": found.a.name,
        "b": found.b.name,
        "metric": found.metric.name,
        "differences": list(found.differences),
        "cells": [_row(row) for row in found.rows],
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


def _row(row: Row) -> dict[str, object]:
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
    return found | _estimate(sample.difference, sample.interval(), sample.metric)


def _whole(whole: Whole) -> dict[str, object]:
    overall = whole.overall
    middle = math.nan if overall.middle is None else overall.middle
    return {
        "cells": len(overall.differences),
        "cells_with_a_figure": len(overall.known),
        **_estimate(middle, overall.interval(), overall.metric),
        "p": whole.test.p if whole.test else None,
        "verdict": whole.verdict,
    }


def _estimate(middle: float, interval: Interval | None, metric: Metric) -> dict[str, object]:
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


__all__ = ["as_json"]
