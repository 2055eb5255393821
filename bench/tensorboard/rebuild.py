"""Event files from records: they are derived, and can be written again at any time."""

from collections.abc import Callable, Sequence

from bench.errors import UsageError
from bench.tensorboard.overview import write_overview
from bench.tensorboard.run_log import kept_positives, write_run
from bench.tensorboard.view import Chosen


def rebuild(chosen: Sequence[Chosen], report: Callable[[str], None]) -> None:
    """Writes the event files of the chosen runs, and what each group's runs share.

    Args:
        chosen: Whose files to write; those that are there are replaced.
        report: Gets a line for each group.

    Raises:
        StoreError: A grid is running in one of the groups, or it cannot be written.
        UsageError: A file cannot be written.
    """
    for group in chosen:
        store = group.store
        store.check_writable()
        with store.lock():
            for folder, record in zip(group.folders, group.records, strict=True):
                positives_K2T = kept_positives(store, record)
                write_run(folder, record, positives_K2T, on_error=_refuse)
            write_overview(store, store.records(), on_error=_refuse)
        report(f"{store.folder}: event files of {len(group.records)} runs written from records")


def _refuse(text: str) -> None:
    raise UsageError(text)
