"""What TensorBoard is shown: a folder of links to the event files of chosen runs; none is copied.

One group's runs stand at the top of the view, those of several groups below the groups' names.

Event files from records: they are derived, and can be written again at any time.
"""

import json
import math
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.errors import UsageError
from bench.record import Record
from bench.selection import select
from bench.store.files import StoreError, explained
from bench.store.groups import groups
from bench.store.store import Store
from bench.tensorboard.events import PATTERN
from bench.tensorboard.overview import (
    EXAMPLES,
    MATRIX,
    SEEDS,
    seeds_name,
    write_matrix_run,
    write_overview,
)
from bench.tensorboard.run_log import kept_positives, write_run

TICKED_UNASKED = 40
BEST = 10  # runs that are ticked when there are more, of as many cells as there are
SHARED = (EXAMPLES, "loaders")  # folders that are shown whichever runs are chosen


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The chosen runs of one group.

    Args:
        store: Of the group.
        records: The chosen ones.
        every: Whether they are all that the group has.
    """

    store: Store
    records: tuple[Record, ...]
    every: bool

    @property
    def folders(self) -> list[Path]:
        """Where the event files of each record are or would be."""
        return [self.store.tensorboard_path(record.run) for record in self.records]

    @property
    def missing(self) -> int:
        """Runs without event files."""
        return sum(not has_events(folder) for folder in self.folders)


def choose(results: Path, expression: str) -> list[Chosen]:
    """Runs at or below a results folder whose cell matches, by group.

    Raises:
        StoreError: There are none, or they cannot be read.
        UsageError: An `expression` that is malformed or matches no cell.
    """
    stores = [Store(group.folder) for group in groups(results)]
    found = [(store, store.records()) for store in stores]
    cells = list({record.cell: None for _, records in found for record in records})
    if not cells:
        raise StoreError(f"there are no records under {results}: `bench run` makes some")
    wanted = set(select(cells, expression))
    chosen = [
        Chosen(store=store, records=kept, every=len(kept) == len(records))
        for store, records in found
        if (kept := tuple(record for record in records if record.cell in wanted))
    ]
    return chosen


class View:
    """A folder of links.

    Args:
        folder: Empty; it is the caller's to remove.
        chosen: What to show.
    """

    def __init__(self, folder: Path, chosen: Sequence[Chosen]) -> None:
        self.folder = folder
        self._chosen = chosen
        self._alone = len(chosen) == 1 and chosen[0].every
        own = chosen[0].store.tensorboard_folder() / MATRIX
        if self._alone and has_events(own):  # it knows the runs that are still to come, too
            (folder / MATRIX).symlink_to(own.resolve())
        else:
            records = [record for group in chosen for record in group.records]
            write_matrix_run(folder / MATRIX, records)
        self.update()

    def update(self) -> None:
        """Links what has come since; runs that go on are seen when all of a group is shown."""
        for group in self._chosen:
            for name, target in _targets(group):
                link = self.folder / self._name(group, name)
                if not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(target.resolve())

    def page(self) -> str:
        """The part of TensorBoard's address that opens the throughput view.

        Its curves are not smoothed. TensorBoard ticks no run when there are more than
        `TICKED_UNASKED`: then the best are, with their cells' seeds and what all runs share.
        """
        page = "custom_scalars&_smoothingWeight=0"
        if sum(1 for _ in self.folder.rglob("*") if _.is_symlink()) <= TICKED_UNASKED:
            return page
        ticked = dict.fromkeys([*self._best(), *self._shared()], True)
        state = b64encode(json.dumps(ticked).encode()).decode()
        return f"{page}&runSelectionState={quote(state, safe='')}"

    def _best(self) -> Iterator[str]:
        """The runs that reached their target soonest, then those with the best accuracy.

        The best of each cell come before a second one of any, so that cells are compared.
        """
        runs = sorted(
            (
                (rank(record), group, folder, record)
                for group in self._chosen
                for record, folder in zip(group.records, group.folders, strict=True)
                if has_events(folder)
            ),
            key=lambda run: run[0],
        )
        earlier: Counter[str] = Counter()
        placed = []
        for place, group, folder, record in runs:
            seeds = self._name(group, f"{SEEDS}/{seeds_name(record)}")
            placed.append((earlier[seeds], place, self._name(group, folder.name), seeds))
            earlier[seeds] += 1
        for _, _, name, seeds in sorted(placed)[:BEST]:
            yield name
            if (self.folder / seeds).is_symlink():
                yield seeds

    def _shared(self) -> Iterator[str]:
        for group in self._chosen:
            for name in SHARED:
                folder = self.folder / self._name(group, name)
                if folder.is_dir():
                    found = {path.parent for path in folder.rglob(PATTERN)}
                    yield from sorted(str(path.relative_to(self.folder)) for path in found)

    def _name(self, group: Chosen, name: str) -> str:
        return name if len(self._chosen) == 1 else f"{group.store.folder.name}/{name}"


def rank(record: Record) -> tuple[float, float]:
    """Smaller for runs that are worth seeing first."""
    if record.metrics is None:
        return math.inf, math.inf
    reached_s = record.metrics.time_to_accuracy_s
    return math.inf if reached_s is None else reached_s, -record.metrics.accuracy


def _targets(group: Chosen) -> Iterator[tuple[str, Path]]:
    root = group.store.tensorboard_folder()
    names = {folder.name for folder in group.folders}
    with explained(f"read {root}"):
        present = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for path in present:
        if path.name == SEEDS:
            cells = {seeds_name(record) for record in group.records}
            for cell in sorted(path.iterdir()):
                if group.every or cell.name in cells:
                    yield f"{SEEDS}/{cell.name}", cell
        elif path.name != MATRIX and (group.every or path.name in (*names, *SHARED)):
            yield path.name, path


def has_events(folder: Path) -> bool:
    """Whether a folder has an event file."""
    return any(folder.glob(PATTERN))


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
