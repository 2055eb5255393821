"""Files that are made of the records: whether they are what the records make now.

Event files: whether they are whole, of a record, and whether the overview is up to date.

Makes anew what is derived of records, and sets damaged ones aside.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from bench.check.files import Finding
from bench.errors import UsageError
from bench.record import Record
from bench.report.loaders import images_per_s, write_tables
from bench.report.page.contents import HEAD, checksum, read_checksum
from bench.report.page.writing import PAGE, ReportOptions
from bench.report.page.writing import write as write_report
from bench.report.table import write_matrix
from bench.store.files import StoreError, StrangeFile, UnusableFile, read_file
from bench.store.loaders_record import FILE as LOADERS
from bench.store.loaders_record import read as read_loaders
from bench.store.store import Store
from bench.tensorboard.overview import (
    EXAMPLES,
    MATRIX,
    SEEDS,
    STATUSES,
    seeds_name,
    write_loaders,
    write_matrix_run,
    write_seeds,
)

TABLES: tuple[Literal["csv", "md"], ...] = ("csv", "md")
LARGEST = 2**28  # bytes of a derived file


def in_tables(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    """Whether matrix.csv and matrix.md are the tables of the records."""
    from bench.report.matrix import build
    from bench.report.table import render

    if not records:
        return
    matrix = build(records)
    made = {"matrix.csv": render(matrix, "csv"), "matrix.md": render(matrix, "md")}
    yield from _differing(store.folder, made, "the records make")


def in_page(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    """Whether a page, if there is one, shows the records that there are."""
    from bench.report.page.writing import PAGE
    from bench.store.loaders_record import read

    path = store.folder / PAGE
    if not path.is_symlink() and not path.exists():
        return
    try:
        said = read_checksum(read_file(path, LARGEST)[:HEAD].decode(errors="replace"))
        up_to_date = said == checksum([(records, read(store.folder))])
    except (OSError, StrangeFile):
        up_to_date = False
    except StoreError:  # of loaders.json, which is told by itself
        return
    if not up_to_date:
        yield Finding(level="stale", path=path, problem="was made of other records than there are")


def in_loaders(store: Store) -> Iterator[Finding]:
    """Whether loaders.json can be read, and its tables are those that it makes."""
    from bench.check.consistency import loaders_problems
    from bench.report import loaders
    from bench.store.loaders_record import FILE, read

    path = store.folder / FILE
    try:
        record = read(store.folder)
    except UnusableFile as error:
        yield Finding(level="wrong", path=path, problem=error.problem, advice=error.advice)
        return
    if record is None:
        return
    for problem in loaders_problems(record):
        yield Finding(
            level="wrong", path=path, problem=problem, advice="call `bench loaders` again"
        )
    # An older file lacks what is recorded since; what it has must be what its series make.
    if not _agrees(json.loads(path.read_bytes()), json.loads(loaders.render(record, "json"))):
        yield Finding(level="stale", path=path, problem="is not what its series make now")
    made = {f"loaders.{form}": loaders.render(record, form) for form in TABLES}
    yield from _differing(store.folder, made, "its series make")


def _agrees(found: Any, made: Any) -> bool:
    if isinstance(found, dict):
        return isinstance(made, dict) and all(
            name in made and _agrees(value, made[name]) for name, value in found.items()
        )
    if isinstance(found, list):
        return isinstance(made, list) and len(found) == len(made) and all(map(_agrees, found, made))
    return bool(found == made)


def _differing(folder: Path, made: Mapping[str, str], who: str) -> Iterator[Finding]:
    for name, content in made.items():
        path = folder / name
        try:
            same = read_file(path, LARGEST) == content.encode()
        except FileNotFoundError:
            yield Finding(level="stale", path=path, problem="is missing")
            continue
        except (OSError, StrangeFile) as error:
            yield Finding(level="stale", path=path, problem=str(error))
            continue
        if not same:
            yield Finding(level="stale", path=path, problem=f"is not what {who} now")


LOADERS_EVENTS = "loaders"


def in_events(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    """Runs' event files, and what the runs of the group share; nothing where there are none."""
    root = store.tensorboard_folder()
    if not root.is_dir():
        return
    yield from _of_runs(store, records)
    if records:
        yield from _shared(root, records)


def damaged_runs(store: Store, records: Sequence[Record]) -> list[tuple[Path, Record, str]]:
    """Folder, record, and what is the matter, of each run whose event files are not whole."""
    from bench.tensorboard.view import has_events

    found = []
    for record in records:
        folder = store.tensorboard_path(record.run)
        if record.status in STATUSES and not has_events(folder):
            found.append((folder, record, "has no event file"))
        elif folder.is_dir() and (problem := _problem(folder)):
            found.append((folder, record, problem))
    return found


def _problem(folder: Path) -> str:
    from bench.tensorboard.events import DamagedEvents, summaries

    try:
        summaries(folder)
    except DamagedEvents as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _of_runs(store: Store, records: Sequence[Record]) -> Iterator[Finding]:

    for folder, _, problem in damaged_runs(store, records):
        yield Finding(level="stale", path=folder, problem=problem)
    known = {store.tensorboard_path(record.run) for record in records}
    shared = (MATRIX, EXAMPLES, SEEDS, LOADERS_EVENTS)
    for path in sorted(store.tensorboard_folder().iterdir()):
        if path not in known and path.name not in shared:
            yield Finding(
                level="note",
                path=path,
                problem="event files of no record" if path.is_dir() else "no file of the suite",
                advice="delete it, else TensorBoard shows it beside the others",
            )


def _shared(root: Path, records: Sequence[Record]) -> Iterator[Finding]:
    """The overview that would be written now, beside the one that there is."""
    with TemporaryDirectory(prefix="bench-check-") as made:
        write_matrix_run(Path(made) / MATRIX, records)
        write_seeds(Path(made) / SEEDS, records)
        pairs = [(Path(made) / MATRIX, root / MATRIX)]
        pairs += [
            (path, root / SEEDS / path.name) for path in sorted((Path(made) / SEEDS).glob("*"))
        ]
        for wanted, found in pairs:
            if not _same(wanted, found):
                yield Finding(level="stale", path=found, problem="is not what the records make now")
    known = {seeds_name(record) for record in records}
    for path in sorted((root / SEEDS).glob("*")):
        if path.name not in known:
            yield Finding(level="stale", path=path, problem="seeds of a cell without records")


def _same(wanted: Path, found: Path) -> bool:
    from bench.tensorboard.events import DamagedEvents, summaries

    try:
        return summaries(wanted) == summaries(found)
    except (DamagedEvents, OSError):
        return False


Report = Callable[[str], None]


def set_aside(store: Store, damaged: Iterable[Path]) -> None:
    """Moves damaged records and attempts away, as whoever reads them does.

    Raises:
        StoreError: A newer version wrote the record of a damaged attempt's run.
    """
    for path in damaged:
        if path.parent.name == ".attempts":
            store.attempts(path.name.partition(".")[0], _in_silence)
        else:
            store.read(path.stem, _in_silence)


def _in_silence(said: str) -> None:
    """What is told of it, the findings tell."""


def mend(store: Store, stale: Sequence[Finding], data_dir: Path | None, report: Report) -> None:
    """Makes anew what findings say is not up to date; the caller holds the folder's lock.

    Args:
        store: Of the group.
        stale: The findings.
        data_dir: Where sources are cached.
        report: Gets lines about what is being made.

    Raises:
        StoreError: A record or file cannot be read or written.
        UsageError: The event files cannot be written.
    """
    names = {finding.path.name for finding in stale if finding.path.parent == store.folder}
    events = store.tensorboard_folder()
    with store.deriving():
        records = store.records(report)
        if names & {"matrix.csv", "matrix.md"}:
            write_matrix(store, records)
    if any(name.startswith("loaders.") for name in names) and (store.folder / LOADERS).exists():
        loaders = read_loaders(store.folder)
        assert loaders is not None
        write_tables(store, loaders)
        write_loaders(store, images_per_s(loaders), on_error=report)
    if any(events in finding.path.parents for finding in stale):
        _events_anew(store)
    if PAGE in names:
        write_report(ReportOptions(results=store.folder, data_dir=data_dir), report)


def _events_anew(store: Store) -> None:
    from bench.tensorboard.overview import write_overview
    from bench.tensorboard.run_log import kept_positives, write_run

    with store.deriving():
        records = store.records(_in_silence)
        for folder, record, _ in damaged_runs(store, records):
            write_run(folder, record, kept_positives(store, record), on_error=_refuse)
        write_overview(store, records, on_error=_refuse)


def _refuse(text: str) -> None:
    raise UsageError(text)


def refresh(store: Store, report: Report) -> None:
    """Remakes what is out of date of a group; the caller holds the folder's lock.

    Raises:
        StoreError, UsageError: As `mend`.
    """
    records = store.records(report)
    found = [*in_tables(store, records), *in_page(store, records), *in_events(store, records)]
    mend(store, [one for one in found if one.level == "stale"], None, report)
