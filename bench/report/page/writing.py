"""`bench report`: a page and its pictures in each group's folder, or one page elsewhere."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.record import Record
from bench.report.page.contents import Content, gather
from bench.report.page.page import render
from bench.selection import select
from bench.store.files import StoreError, write_atomically
from bench.store.groups import Group, groups
from bench.store.loaders_record import read
from bench.store.store import Store
from bench.text import Log

PAGE = "report.html"
PICTURES = "report"  # folder of them


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The options of `bench report`."""

    results: Path  # a results folder, or one group in it
    out: Path | None = None  # one page of all groups; None: a page and pictures in each group
    select: str = ""
    data_dir: Path | None = None  # where sources are cached
    machines: Collection[str] = ()  # names of this machine; their groups come first


def write(options: ReportOptions, report: Log) -> list[Path]:
    """Writes the pages and returns their paths.

    Reference groups get pages only if there are no other groups.

    Raises:
        StoreError: There is nothing to show, or a file cannot be read or written.
        UsageError: The expression matches no cell.
    """
    contents = [
        gather(group, records, data_dir=options.data_dir, report=report)
        for group, records in _selected(options, report).items()
    ]
    if options.out is not None:
        write_atomically(options.out, render(contents).encode())
        return [options.out]
    own = [content for content in contents if not content.group.reference]
    return [_write_group(content, report) for content in own or contents]


def _selected(options: ReportOptions, report: Log) -> dict[Group, list[Record]]:
    """The groups that have something to show, with the matching records."""
    every = {
        group: Store(group.folder).records(report, sanitized=True)
        for group in groups(options.results, machines=options.machines)
    }
    cells = list({record.cell: None for records in every.values() for record in records})
    if not cells and not any(read(group.folder) for group in every):
        raise StoreError(f"there are no records under {options.results}: `bench run` makes some")
    kept = set(select(cells, options.select))
    matching = {
        group: [record for record in records if record.cell in kept]
        for group, records in every.items()
    }
    return {
        group: records
        for group, records in matching.items()
        if records or (not options.select and read(group.folder) is not None)
    }


def _write_group(content: Content, report: Log) -> Path:
    """Writes the page and its pictures, and deletes pictures that are no longer drawn."""
    store = Store(content.group.folder)
    files = {f"{picture.name}.svg": picture.svg.encode() for picture in content.pictures}
    files |= {f"{picture.name}.png": picture.png for picture in content.pictures}
    store.replace_derived(PICTURES, files, report)
    return store.write_derived(PAGE, render([content]))
