"""Tables of texts as people see them: Markdown, or drawn for a terminal."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

IN_LINE = {ord(mark): " " for mark in "\n\t"}  # what would move a cell's text out of its place
RULE = "\u2500"
BEST = "bold green"
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

    cells = {name: [text.translate(IN_LINE) for text in cells[name]] for name in columns}
    widths = {
        name: max(map(cell_len, [column.header, *cells[name]])) + 3
        for name, column in columns.items()
    }
    dropped = [] if keep or width is None else _dropped(columns, widths, width)
    shown = {name: column for name, column in columns.items() if name not in dropped}
    needed = sum(widths[name] for name in shown) + 2
    out = StringIO()
    console = Console(
        file=out, width=width or max(needed, *map(len, (title, *notes))),
        force_terminal=color, no_color=not color,
        color_system="standard" if color else None, highlight=False,
    )  # fmt: skip
    console.print(Text(title, "bold"))  # above the table, which may be narrower
    if needed <= console.width:
        for line in _lines(shown, cells, best):
            console.print(line, soft_wrap=True)
    else:
        console.print(_wrapped(shown, cells, best))
    for note in notes:
        console.print(Text(note, "dim"))
    if dropped:
        left_out = ", ".join(columns[name].header for name in dropped)
        console.print(Text(f"left out for width: {left_out}", "dim"))
    return out.getvalue()


def _wrapped(
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
) -> "Table":
    """A table that breaks the lines within its cells where it must."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for column in columns.values():
        table.add_column(
            Text(column.header), justify="right" if column.is_number else "left", overflow="fold"
        )
    for index in range(len(next(iter(cells.values()), []))):
        texts = {name: cells[name][index] for name in columns}
        table.add_row(
            *(Text(text, BEST if index in best[name] else "") for name, text in texts.items())
        )
    return table


def _lines(
    columns: Mapping[str, Column],
    cells: Mapping[str, Sequence[str]],
    best: Mapping[str, Collection[int]],
) -> "Iterator[Text]":
    """The same where every row fits in a line: rich takes a second for a thousand such rows."""
    from rich.cells import cell_len
    from rich.text import Text

    room = {
        name: max(map(cell_len, [column.header, *cells[name]])) for name, column in columns.items()
    }

    def line(row: Mapping[str, str], bold: Collection[str], style: str) -> Text:
        made = Text(" ")
        for name, text in row.items():
            space = " " * (room[name] - cell_len(text))
            right = columns[name].is_number
            made.append(f" {space}" if right else " ")
            made.append(text, style if name in bold else "")
            made.append("  " if right else f"{space}  ")
        return made

    total = sum(room.values()) + 3 * len(room) + 1
    yield Text(" " * total)
    yield line({name: column.header for name, column in columns.items()}, columns, "bold")
    yield Text(f" {RULE * (total - 2)} ")
    for index in range(len(next(iter(cells.values()), []))):
        row = {name: cells[name][index] for name in columns}
        yield line(row, [name for name in columns if index in best[name]], BEST)
    yield Text(" " * total)


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
