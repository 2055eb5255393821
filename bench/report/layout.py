"""Tables of texts as people see them: Markdown, or drawn for a terminal."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from rich.table import Table

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
    room = {
        name: max(map(cell_len, [column.header, *cells[name]])) for name, column in columns.items()
    }
    widths = {name: taken + 3 for name, taken in room.items()}
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
        out.writelines(f"{line}\n" for line in _lines(shown, cells, best, room, color=color))
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
    room: Mapping[str, int],
    *,
    color: bool,
) -> Iterator[str]:
    """The same where every row fits in a line: rich takes half a second for a thousand rows."""
    from rich.cells import cell_len
    from rich.color import ColorSystem
    from rich.style import Style

    system = ColorSystem.STANDARD if color else None

    def cell(name: str, text: str, style: str) -> str:
        space = " " * (room[name] - cell_len(text))
        drawn = Style.parse(style).render(text, color_system=system) if style else text
        return f" {space}{drawn}  " if columns[name].is_number else f" {drawn}{space}  "

    total = sum(room[name] for name in columns) + 3 * len(columns) + 1
    yield " " * total
    headers = [cell(name, column.header, "bold") for name, column in columns.items()]
    yield "".join((" ", *headers))
    yield f" {RULE * (total - 2)} "
    drawn = [
        [cell(name, text, BEST if i in best[name] else "") for i, text in enumerate(cells[name])]
        for name in columns
    ]
    for row in zip(*drawn, strict=True):
        yield "".join((" ", *row))
    yield " " * total


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
