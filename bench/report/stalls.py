"""Which pipelines hold training up: the share of time that the ceiling would not need."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.matrix import MODEL_BOUND_PCT, PIPELINE_BOUND_PCT, bound_by
from bench.report.outcomes import Outcome
from bench.report.sentences import code, listed
from bench.wording import count

MOST_NETS = 3


@dataclass(frozen=True, kw_only=True)
class Stall:
    """What a pipeline's cells waited.

    Args:
        nets: Those it was measured with.
        stalls: Percent of the training time, by the cell's label; the mean over its seeds.
    """

    pipeline: str
    nets: tuple[str, ...]
    stalls: tuple[tuple[str, float], ...]

    @property
    def worst(self) -> tuple[str, float]:
        """The cell that waited longest."""
        return max(self.stalls, key=lambda stall: (stall[1], stall[0]))

    def bound(self, by: str) -> int:
        """Cells whose throughput is bound by "model", "pipeline" or "both"."""
        return sum(bound_by(percent) == by for _, percent in self.stalls)


def stalls(outcomes: Sequence[Outcome]) -> list[Stall]:
    """Those of each pipeline, without runs whose timing is suspect."""
    found: dict[str, list[tuple[Outcome, float]]] = defaultdict(list)
    for outcome in outcomes:
        shares = [
            run.throughput.stall_pct
            for run in outcome.trusted
            if run.throughput and run.throughput.stall_pct is not None
        ]
        if shares:
            found[outcome.cell.pipeline].append((outcome, statistics.fmean(shares)))
    return [
        Stall(
            pipeline=pipeline,
            nets=tuple(sorted({outcome.cell.architecture for outcome, _ in found[pipeline]})),
            stalls=tuple((outcome.label, share) for outcome, share in found[pipeline]),
        )
        for pipeline in sorted(found)
    ]


def summary(found: Sequence[Stall]) -> str:
    """Which cells are bound by their pipeline, and how much noise there is in a stall."""
    cells = [stall for one in found for stall in one.stalls]
    bound = [label for label, share in cells if bound_by(share) == "pipeline"]
    lowest = min(share for _, share in cells)
    text = (
        f"{len(bound)} of {count(len(cells), 'cell')} bound by the pipeline (it takes "
        f"{PIPELINE_BOUND_PCT:.0f} % of the training time or more)"
        + (f": {listed(bound)}." if bound else ".")
    )
    if lowest < 0:
        text += (
            f" The lowest stall is {lowest:.1f} %, training quicker than its ceiling: so much is "
            "noise here."
        )
    return text


def sentence(stall: Stall) -> str:
    """What a pipeline cost, and where most."""
    shares = [share for _, share in stall.stalls]
    label, worst = stall.worst
    nets = listed(stall.nets) if len(stall.nets) <= MOST_NETS else f"{len(stall.nets)} nets"
    head = f"{code(stall.pipeline)} with {nets}: "
    if len(shares) == 1:
        share = f"training waited {worst:.1f} % of its time in the only cell, {code(label)}"
    else:
        share = (
            f"training waited {statistics.median(shares):.1f} % of its time in the median of "
            f"{len(shares)} cells, most in {code(label)} ({worst:.1f} %)"
        )
    return (
        f"{head}{share}; {stall.bound('pipeline')} bound by the pipeline, {stall.bound('both')} by "
        f"both, {stall.bound('model')} by the model (under {MODEL_BOUND_PCT:.0f} %)."
    )


__all__ = ["Stall", "sentence", "stalls"]
