"""`bench report`: a page and its pictures in each group's folder, or one page elsewhere.

Text between two markers of a file that people write: a README keeps all else as it is.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.record import Record
from bench.report.page.page import Content, gather, render
from bench.selection import select
from bench.store.files import StoreError, explained, write_atomically
from bench.store.groups import Group, groups
from bench.store.loaders_record import read
from bench.store.store import Store

PAGE = "report.html"
PICTURES = "report"  # folder of them
MARKER = "conclusions"

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for.

    Args:
        results: A results folder, or one group in it.
        out: File for one page of all groups; None writes a page and pictures into each group.
        select: Expression as of -k.
        update: Markdown file that gets the conclusions between its markers, or None.
        data_dir: Where sources are cached.
        machines: Names of this machine; their groups come first.
    """

    results: Path
    out: Path | None = None
    select: str = ""
    update: Path | None = None
    data_dir: Path | None = None
    machines: Collection[str] = ()


def write(order: Order, report: Report) -> list[Path]:
    """Writes what is asked for and returns the pages and the file that was updated.

    Reference groups get no page of their own beside results that somebody made.

    Raises:
        StoreError: There is nothing to show, or a file cannot be read or written.
        UsageError: An expression that matches no cell.
    """
    contents = [
        gather(group, records, data_dir=order.data_dir, report=report)
        for group, records in _chosen(order, report).items()
    ]
    if order.out is not None:
        write_atomically(order.out, render(contents).encode())
        written = [order.out]
    else:
        own = [content for content in contents if not content.group.reference]
        written = [_write_group(content, report) for content in own or contents]
    if order.update is not None:
        _update(order.update, contents)
        written.append(order.update)
    return written


def _chosen(order: Order, report: Report) -> dict[Group, list[Record]]:
    """The groups that have something to show, and the records that match."""
    found = {
        group: Store(group.folder).records(report, legibly=True)
        for group in groups(order.results, machines=order.machines)
    }
    cells = list({record.cell: None for records in found.values() for record in records})
    if not cells and not any(read(group.folder) for group in found):
        raise StoreError(f"there are no records under {order.results}: `bench run` makes some")
    kept = set(select(cells, order.select))
    chosen = {
        group: [record for record in records if record.cell in kept]
        for group, records in found.items()
    }
    alone = not order.select  # pipelines alone are of no cell
    return {
        group: records
        for group, records in chosen.items()
        if records or (alone and read(group.folder) is not None)
    }


def _write_group(content: Content, report: Report) -> Path:
    """The page and its pictures; old pictures that are drawn no more go."""
    store = Store(content.group.folder)
    files = {f"{picture.name}.svg": picture.svg.encode() for picture in content.pictures}
    files |= {f"{picture.name}.png": picture.png for picture in content.pictures}
    store.replace_derived(PICTURES, files, report)
    return store.write_derived(PAGE, render([content]))


def _update(path: Path, contents: list[Content]) -> None:
    """The conclusions of all groups, under a heading each where there are several."""
    from bench.report.conclusions import markdown

    texts = []
    for content in contents:
        heading = f"### {content.group.name}\n\n" if len(contents) > 1 else ""
        texts.append(heading + markdown(content.conclusions).strip())
    insert(path, MARKER, "\n\n".join(texts))


def insert(path: Path, name: str, text: str) -> bool:
    """Puts `text` between the lines `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` of a file.

    Returns:
        Whether the file changed; the same text again leaves it untouched.

    Raises:
        UsageError: The file is not text, or it lacks the markers, has them twice or the wrong way
            round, or the text holds such a marker itself.
        StoreError: The file cannot be read or written.
    """
    path = Path(path).resolve()  # a link stays one: what it points to is written
    with explained(f"read {path}"):
        old = path.read_bytes()
    try:
        lines = old.decode().splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from error
    opening, closing = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    if any(line.strip() in (opening, closing) for line in text.splitlines()):
        raise UsageError(f"the text to insert into {path} holds the marker of {name} itself")
    start, end = _place(lines, opening, path), _place(lines, closing, path)
    if start is None or end is None:
        missing = " and ".join(
            marker for marker, at in ((opening, start), (closing, end)) if at is None
        )
        raise UsageError(
            f"{path} lacks {missing}: put both lines, {opening} and {closing}, where the text goes"
        )
    if end < start:
        raise UsageError(f"{path} has {closing} before {opening}")
    ending = "\r\n" if lines[start].endswith("\r\n") else "\n"
    body = [line + ending for line in ["", *text.replace("\r\n", "\n").strip("\n").split("\n"), ""]]
    new = "".join([*lines[: start + 1], *body, *lines[end:]]).encode()
    if new == old:
        return False
    write_atomically(path, new)
    return True


def _place(lines: list[str], marker: str, path: Path) -> int | None:
    found = [index for index, line in enumerate(lines) if line.strip() == marker]
    if len(found) > 1:
        numbers = ", ".join(str(index + 1) for index in found)
        raise UsageError(f"{path} has {marker} more than once, in lines {numbers}: keep one")
    return found[0] if found else None
