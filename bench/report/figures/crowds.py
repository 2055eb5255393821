"""Crowded panels: the best cells in colour, the others thin and grey, so that lines can be told."""

from collections.abc import Iterable, Sequence

from bench.report.figures.comparison import Case
from bench.report.figures.style import PALETTE, Section

MOST_LINES = 16  # that colours and dashes tell apart in one panel
FOREMOST = 8  # of more
BEHIND = PALETTE[7]


def foremost(cases: Sequence[Case]) -> list[Case]:
    """The cells of a panel to draw in colour: all of a few, of many the most accurate.

    By test accuracy whatever is drawn, so that all pictures of a net show the same cells.
    """
    good = [case for case in cases if case.good]
    if len(good) <= MOST_LINES:
        return good
    return sorted(good, key=lambda case: (-(case.mean("accuracy") or 0.0), case.label))[:FOREMOST]


def said(panels: Iterable[Sequence[Case]]) -> str:
    """What a caption says of crowded panels; "" where there are none."""
    counts = [sum(bool(case.good) for case in cases) for cases in panels]
    behind = sum(number - FOREMOST for number in counts if number > MOST_LINES)
    if not behind:
        return ""
    return (
        f" In a panel of more than {MOST_LINES} cells the {FOREMOST} with the best test accuracy "
        f"are in colour and the others thin and grey, {behind} in all."
    )


def key(panels: Iterable[Sequence[Case]]) -> tuple[Section, ...]:
    """What thin and grey means, where something is."""
    if not said(panels):
        return ()
    look = {"color": BEHIND, "linewidth": 0.8}
    return (Section(title="the others", entries=(("of a crowded panel", look),)),)
