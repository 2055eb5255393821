"""Curves as small plots of braille characters, 2 x 4 dots each."""

import math
from collections.abc import Sequence

BLANK = 0x2800
# The bit of each dot of a character, by row and column from the top left on.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def plot(
    x: Sequence[float], y: Sequence[float], *, width: int, height: int, low: float, high: float
) -> list[str]:
    """A line through points, as `height` texts of `width` characters.

    Args:
        x: Of the points, rising.
        y: Likewise as many; a point that is not finite is left out and breaks the line.
        width: Characters.
        height: Lines.
        low: The y of the lower edge; lower points lie on it.
        high: Of the upper edge; higher points lie on it.

    Raises:
        ValueError: There are not as many y as x.
    """
    columns, rows = 2 * width, 4 * height
    grid = [[0] * width for _ in range(height)]
    before: tuple[int, int] | None = None
    for one_x, one_y in zip(x, y, strict=True):
        if not math.isfinite(one_y):
            before = None
            continue
        here = (_place(one_x, x[0], x[-1], columns), rows - 1 - _place(one_y, low, high, rows))
        for column, row in _line(before or here, here):
            grid[row // 4][column // 2] |= DOTS[row % 4][column % 2]
        before = here
    return ["".join(chr(BLANK + bits) for bits in line) for line in grid]


def _place(value: float, low: float, high: float, count: int) -> int:
    """The dot, of `count`, that a value between `low` and `high` falls on."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(min(1.0, max(0.0, share)) * (count - 1))


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots from one to another, both included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            start[0] + round((end[0] - start[0]) * step / steps),
            start[1] + round((end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]
