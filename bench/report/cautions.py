"""What a reader of the matrix must know before comparing its rows, a sentence each."""

from collections.abc import Iterator

import pandas as pd

from bench.report.matching import SEEDS_NEEDED


def cautions(frame: pd.DataFrame) -> Iterator[str]:
    """For the matrix of one group, where there is something to compare.

    Args:
        frame: As in `Matrix`.
    """
    good = frame[frame["seeds"] > 0]
    if len(good) < 2:
        return
    fewest = int(good["seeds"].min())
    if fewest < SEEDS_NEEDED:
        have = "one seed" if fewest == 1 else f"{fewest} seeds"
        whose = "each cell has" if good["seeds"].max() == fewest else "some cells have only"
        yield (
            f"Too few seeds to say that a cell is better than the next: {whose} {have}, a claim "
            f"needs {SEEDS_NEEDED} (--seeds {SEEDS_NEEDED})."
        )
    machines = good["machine"].unique()
    if len(machines) > 1:
        yield (
            f"Rows come from {len(machines)} machines: compare images/s and seconds only within "
            "one (the column budget names it)."
        )
    doubtful = int((good["timing_suspect"] != "").sum())
    if doubtful:
        whose = "One cell has" if doubtful == 1 else f"{doubtful} of {len(good)} cells have"
        yield (
            f"{whose} doubtful times, for the reasons in the notes: no time or speed of theirs is "
            "set in bold."
        )


__all__ = ["cautions"]
