"""Checks whether derived files are up to date with the records, and rebuilds them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.check.files import Finding
from bench.errors import UsageError
from bench.record import Record
from bench.report import loaders as loaders_report
from bench.report.matrix import build
from bench.report.page.contents import HEAD, checksum, read_checksum
from bench.report.page.writing import PAGE, write_report
from bench.report.table import render, write_matrix
from bench.store.files import StoreError, StrangeFile, UnusableFile, read_file
from bench.store.loaders_record import LOADERS_FILE, read_loaders
from bench.store.store import Store
from bench.tensorboard.overview import STATUSES, write_loaders, write_overview
from bench.text import Log

FORMATS: tuple[Literal["csv", "md"], ...] = ("csv", "md")
LARGEST = 2**28  # bytes of a derived file


def check_derived(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    """Checks that tables, page and event files are up to date with the records."""
    if records:
        matrix = build(records)
        wanted = {f"matrix.{form}": render(matrix, form) for form in FORMATS}
        yield from _differing(store.folder, wanted, "the records make")
    yield from _check_page(store, records)
    if store.tensorboard_folder().is_dir():
        for record in _without_events(store, records):
            yield Finding("stale", store.tensorboard_path(record.run), "has no event file")


def _check_page(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    path = store.folder / PAGE
    if not path.is_symlink() and not path.exists():
        return
    try:
        found = read_checksum(read_file(path, LARGEST)[:HEAD].decode(errors="replace"))
        up_to_date = found == checksum([(records, read_loaders(store.folder))])
    except (OSError, StrangeFile):
        up_to_date = False
    except StoreError:  # loaders.json is invalid, which `check_loaders` reports
        return
    if not up_to_date:
        yield Finding("stale", path, "is out of date: the records have changed")


def check_loaders(store: Store) -> Iterator[Finding]:
    """Checks that loaders.json can be read and its tables are up to date."""
    try:
        record = read_loaders(store.folder)
    except UnusableFile as error:
        yield Finding("wrong", store.folder / LOADERS_FILE, error.problem, error.advice)
        return
    if record is not None:
        wanted = {f"loaders.{form}": loaders_report.render(record, form) for form in FORMATS}
        yield from _differing(store.folder, wanted, "its series make")


def _differing(folder: Path, wanted: Mapping[str, str], who: str) -> Iterator[Finding]:
    for name, content in wanted.items():
        path = folder / name
        try:
            if read_file(path, LARGEST) != content.encode():
                yield Finding("stale", path, f"is not what {who} now")
        except FileNotFoundError:
            yield Finding("stale", path, "is missing")
        except (OSError, StrangeFile) as error:
            yield Finding("stale", path, str(error))


def _without_events(store: Store, records: Sequence[Record]) -> list[Record]:
    from bench.tensorboard.view import has_events

    ended = [record for record in records if record.status in STATUSES]
    return [record for record in ended if not has_events(store.tensorboard_path(record.run))]


def quarantine(store: Store, damaged: Iterable[Path]) -> None:
    """Moves damaged records and attempts to quarantine, as any reader does."""
    for path in damaged:
        if path.parent.name == ".attempts":
            store.attempts(path.name.partition(".")[0], _ignore)
        else:
            store.read(path.stem, _ignore)


def _ignore(message: str) -> None:
    """The findings already say so."""


def rebuild(store: Store, stale: Sequence[Finding], report: Log) -> None:
    """Rebuilds outdated files; the caller holds the folder's lock.

    Raises:
        StoreError: A record or file cannot be read or written.
    """
    names = {finding.path.name for finding in stale if finding.path.parent == store.folder}
    with store.deriving():
        records = store.records(report)
        if names & {"matrix.csv", "matrix.md"}:
            write_matrix(store, records)
    if any(name.startswith("loaders.") for name in names):
        loaders = read_loaders(store.folder)
        if loaders is not None:
            loaders_report.write_tables(store, loaders)
            write_loaders(store, loaders.images_per_s, on_error=report)
    events = store.tensorboard_folder()
    if any(events in finding.path.parents for finding in stale):
        _rebuild_events(store)
    if PAGE in names:
        write_report(store.folder, report)


def _rebuild_events(store: Store) -> None:
    from bench.tensorboard.run_log import load_positives, write_run

    with store.deriving():
        records = store.records(_ignore)
        for record in _without_events(store, records):
            folder = store.tensorboard_path(record.run)
            write_run(folder, record, load_positives(store, record), on_error=_refuse)
        write_overview(store, records, on_error=_refuse)


def _refuse(message: str) -> None:
    raise UsageError(message)


def refresh(store: Store, report: Log) -> None:
    """Rebuilds what is out of date in a group, and always the overview for TensorBoard."""
    findings = check_derived(store, store.records(report))
    rebuild(store, [each for each in findings if each.level == "stale"], report)
    if store.tensorboard_folder().is_dir():
        _rebuild_events(store)
