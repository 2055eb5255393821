"""Tables of texts as people see them: Markdown, or drawn for a terminal."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Literal

import pandas as pd

from bench.report.aligned import BESIDE, Texts, aligned

if TYPE_CHECKING:
    from rich.table import Table

IN_LINE = {ord(mark): " " for mark in "\n\t"}  # what would move a cell's text out of its place
NOTES_WIDTH = 30  # of a terminal; longer notes are wrapped


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as people see it.

    Args:
        header: Its name with the unit.
        digits: After the decimal point; None for text.
        factor: From the frame's unit to the one shown.
        lower: Whether less is better; None when nothing is.
        priority: A narrow terminal drops the highest first; 0 always stays.
        right: Whether a text is aligned to the right, as figures are.
    """

    header: str
    digits: int | None = None
    factor: float = 1.0
    lower: bool | None = None
    priority: int = 0
    right: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.right or self.digits is not None


def markdown(
    title: str,
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
    *,
    notes: Sequence[str] = (),
) -> str:
    """A Markdown table under a heading.

    Args:
        title: The heading.
        columns: How to show each column, in order.
        cells: Column to the texts of its rows.
        best: Column to the rows that are set in bold.
        notes: Paragraphs between heading and table.
    """
    texts = [
        [
            f"**{text}**" if index in best[name] else as_markdown(text)
            for index, text in enumerate(cells[name])
        ]
        for name in columns
    ]
    headers = [as_markdown(column.header) for column in columns.values()]
    rows = list(zip(*texts, strict=True))
    table = pd.DataFrame(rows, columns=range(len(headers))).to_markdown(
        index=False,
        headers=headers,
        colalign=["right" if column.is_number else "left" for column in columns.values()],
        disable_numparse=True,
    )
    said = [as_markdown(text, in_cell=False) for text in (title, *notes)]
    return "\n\n".join([f"### {said[0]}", *said[1:], table]) + "\n"


def as_markdown(text: str, *, in_cell: bool = True) -> str:
    """A text in one line that ends no cell and makes neither HTML nor a link."""
    plain = " ".join(text.split()).replace("<", "&lt;").replace("](", "]\\(")
    return plain.replace("|", "\\|") if in_cell else plain


def for_terminal(
    title: str,
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
    *,
    notes: Sequence[str] = (),
    width: int | None,
    color: bool,
    keep: bool = False,
) -> str:
    """A table for a terminal; arguments as in `markdown`.

    Args:
        notes: Lines under the table.
        width: Characters that it may use; None for as many as it takes.
        color: Whether it may use bold and colours.
        keep: Whether columns stay that are too wide together.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    shown = {
        name: Texts(
            header=column.header,
            cells=[text.translate(IN_LINE) for text in cells[name]],
            best=best[name],
            right=column.is_number,
        )
        for name, column in columns.items()
    }
    widths = {
        name: max(map(cell_len, [column.header, *column.cells])) + BESIDE
        for name, column in shown.items()
    }
    dropped = [] if keep or width is None else _dropped(columns, widths, width)
    names = [name for name in columns if name not in dropped]
    kept = [shown[name] for name in names]
    needed = sum(widths[name] for name in names) + 2
    out = StringIO()
    console = Console(
        file=out, width=width or max(needed, *map(len, (title, *notes))),
        force_terminal=color, no_color=not color,
        color_system="standard" if color else None, highlight=False,
    )  # fmt: skip
    console.print(Text(title, "bold"))  # above the table, which may be narrower
    table = aligned(kept, width=console.width, color=color)
    if table is None:
        console.print(_by_rich(kept))
    else:
        out.write(table)
    for note in notes:
        console.print(Text(note, "dim"))
    if dropped:
        left_out = ", ".join(columns[name].header for name in dropped)
        console.print(Text(f"left out for width: {left_out}", "dim"))
    return out.getvalue()


def _by_rich(columns: Sequence[Texts]) -> "Table":
    """A table that wraps what is too wide."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        justify: Literal["right", "left"] = "right" if column.right else "left"
        table.add_column(Text(column.header), justify=justify, overflow="fold")
    for index, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        styles = ("bold green" if index in column.best else "" for column in columns)
        table.add_row(*map(Text, row, styles))
    return table


def _dropped(columns: Mapping[str, Column], widths: Mapping[str, int], width: int) -> list[str]:
    """The columns to leave out so that the rest fits, the least needed first."""
    dropped: list[str] = []
    total = sum(widths.values()) + 2 - max(0, widths.get("notes", 0) - NOTES_WIDTH)
    for name in sorted(widths, key=lambda name: -columns[name].priority):
        if total <= width or not columns[name].priority:
            break
        dropped.append(name)
        total -= widths[name]
    return dropped


__all__ = ["Column", "for_terminal", "markdown"]
