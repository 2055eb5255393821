"""Event files: whether they are whole, of a record, and whether the overview is up to date."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.checking.finding import Finding
from bench.record import Record
from bench.store import Store
from bench.tensorboard.overview import (
    EXAMPLES,
    MATRIX,
    SEEDS,
    STATUSES,
    seeds_name,
    write_matrix_run,
    write_seeds,
)

LOADERS = "loaders"


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
    from bench.tensorboard.reading import DamagedEvents, summaries

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
    shared = (MATRIX, EXAMPLES, SEEDS, LOADERS)
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
    from bench.tensorboard.reading import DamagedEvents, summaries

    try:
        return summaries(wanted) == summaries(found)
    except (DamagedEvents, OSError):
        return False


__all__ = ["damaged_runs", "in_events"]
