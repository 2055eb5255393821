"""`bench report`: a page, pictures and effects in each group's folder, or one page elsewhere."""

from collections.abc import Collection
from pathlib import Path

from bench.record import Record
from bench.report.page.contents import Content, gather
from bench.report.page.page import render
from bench.selection import matching
from bench.store.files import StoreError, write_atomically
from bench.store.groups import Group, groups
from bench.store.loaders_record import read_loaders
from bench.store.store import Store
from bench.text import Log

PAGE = "report.html"
PICTURES = "report"  # folder of them, and of the effects as CSV and JSON


def write_report(
    results: Path,
    log: Log,
    *,
    out: Path | None = None,
    expression: str = "",
    machines: Collection[str] = (),
) -> list[Path]:
    """Writes a page and pictures into each group, and returns the pages' paths.

    Reference groups get pages only if there are no other groups.

    Args:
        out: Writes one page of all groups here instead.
        machines: Names of this machine; their groups come first.

    Raises:
        StoreError: There is nothing to show, or a file cannot be read or written.
        UsageError: The expression matches no cell.
    """
    chosen = _selected(groups(results, machines=machines, loaders=True), expression, log)
    own = {group: records for group, records in chosen.items() if not group.reference}
    contents = [
        gather(group, records, log)
        for group, records in (chosen if out or not own else own).items()
    ]
    if not contents:
        raise StoreError(
            f"there are no records under {results}: `bench run` or `bench loaders` makes some"
        )
    if out is not None:
        write_atomically(out, render(contents).encode())
        return [out]
    return [_write_group(content) for content in contents]


def _selected(found: list[Group], expression: str, log: Log) -> dict[Group, list[Record]]:
    """The groups that have something to show, with the matching records."""
    every = {group: Store(group.folder).records(log, sanitized=True) for group in found}
    return {
        group: records
        for group, records in matching(every, expression).items()
        if records or (not expression and read_loaders(group.folder) is not None)
    }


def _write_group(content: Content) -> Path:
    """Writes the page and its pictures, and deletes pictures that are no longer drawn."""
    store = Store(content.group.folder)
    files = {f"{picture.name}.svg": picture.svg.encode() for picture in content.pictures}
    files |= {f"{picture.name}.png": picture.png for picture in content.pictures}
    store.replace_derived(PICTURES, {**files, **content.effects})
    return store.write_derived(PAGE, render([content]))
