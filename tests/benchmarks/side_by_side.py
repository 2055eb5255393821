"""What the benchmarks share: the conditions they ran under, and ratios of what ran in turns."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from bench.machine.environment import (
    cpu_model,
)
from bench.process import usable_cores

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def conditions() -> dict[str, object]:
    """Machine, date, and how loaded it is now; to be asked before anything is measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "load_before": [round(load, 1) for load in os.getloadavg()],
    }


def told(before: Mapping[str, object], figures: Mapping[str, object]) -> None:
    """Prints what was measured, and under which conditions, as JSON."""
    print(json.dumps({"conditions": before, "figures": figures}, indent=1))


def median_ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The median of the pairs' ratios with its 95 % bootstrap interval.

    What slows the machine for longer than a pair slows both sides of it.

    Args:
        above, below: Seconds of the two sides, in the order of the turns.
    """
    ratios = np.asarray(above) / np.asarray(below)
    found = bootstrap(
        (ratios,), np.median, method="percentile", n_resamples=2000, rng=np.random.default_rng(0)
    )
    interval = found.confidence_interval
    return {
        "ratio": round(float(np.median(ratios)), 4),
        "low_95": round(float(interval.low), 4),
        "high_95": round(float(interval.high), 4),
    }
