"""Tables that fit a terminal, drawn as rich draws them in a tenth of its time.

rich measures and wraps each cell several times over, which takes longer than all else when a table
has a thousand rows. Where nothing has to be wrapped there is only padding to do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

BOLD = "\x1b[1m{}\x1b[0m"
BEST = "\x1b[1;32m{}\x1b[0m"
RULE = "\u2500"
BESIDE = 3  # characters of a column beside its texts: a blank at each end, and one between columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """One column.

    Args:
        header: Its name.
        cells: The texts of its rows.
        best: Rows that are set off.
        right: Whether it is aligned to the right.
    """

    header: str
    cells: Sequence[str]
    best: Collection[int]
    right: bool


def aligned(columns: Sequence[Texts], *, width: int, color: bool) -> str | None:
    """The table in lines that all end in a line feed.

    Args:
        columns: With as many cells each.
        width: Characters that a line may take.
        color: Whether terminal codes may be used.

    Returns:
        None for what needs rich: lines to wrap, nothing to show, or characters that move others.
    """
    from rich.cells import cell_len

    widths = []
    for column in columns:
        texts = (column.header, *column.cells)
        if not all(map(str.isprintable, texts)):
            return None
        widths.append(max(map(cell_len, texts)))
    total = sum(widths) + BESIDE * len(widths) + 1
    if not widths or not all(widths) or total > width:
        return None
    heads, bodies = [], []
    for column, room in zip(columns, widths, strict=True):
        header, *cells = _padded((column.header, *column.cells), room, column.right)
        heads.append("".join(map(BOLD.format, (" ", header, " "))) if color else f" {header} ")
        for row in column.best if color else ():
            cells[row] = BEST.format(cells[row])
        bodies.append(cells)
    rows = (f"  {'   '.join(cells)}  " for cells in zip(*bodies, strict=True))
    empty = " " * total
    head = (empty, f" {' '.join(heads)} ", f" {RULE * (total - 2)} ")
    return "".join(f"{line}\n" for line in chain(head, rows, (empty,)))


def _padded(texts: Sequence[str], room: int, right: bool) -> list[str]:
    """The texts, each as wide as `room`; blanks at the end of a figure count for nothing."""
    from rich.cells import cell_len

    if right:
        ended = (text.rstrip() for text in texts)
        return [" " * (room - cell_len(text)) + text for text in ended]
    return [text + " " * (room - cell_len(text)) for text in texts]


__all__ = ["BESIDE", "Texts", "aligned"]
