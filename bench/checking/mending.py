"""Makes anew what is derived of records, and sets damaged ones aside."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.checking.finding import Finding
from bench.errors import UsageError
from bench.report.loaders_reading import FILE as LOADERS
from bench.report.loaders_reading import read as read_loaders
from bench.report.table import write_matrix
from bench.report.writing import PAGE, Order
from bench.report.writing import write as write_report
from bench.store import Store

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
        from bench.loaders import write

        loaders = read_loaders(store.folder)
        assert loaders is not None
        write(loaders, store.folder, report)
    if any(events in finding.path.parents for finding in stale):
        _events_anew(store)
    if PAGE in names:
        write_report(Order(results=store.folder, data_dir=data_dir), report)


def _events_anew(store: Store) -> None:
    from bench.checking.events import damaged_runs
    from bench.tensorboard.overview import write_overview
    from bench.tensorboard.run_log import kept_positives, write_run

    with store.deriving():
        records = store.records(_in_silence)
        for folder, record, _ in damaged_runs(store, records):
            write_run(folder, record, kept_positives(store, record), on_error=_refuse)
        write_overview(store, records, on_error=_refuse)


def _refuse(text: str) -> None:
    raise UsageError(text)


__all__ = ["mend", "set_aside"]
