"""The results folder: atomic writes, validated reads, one writer at a time.

Only this package accesses these files. A `Store` is one group, the runs of one machine, source and
scale:

    records/<run_id>.json       the result of each run; everything else is derived or extra
    records/.attempts/          earlier records of runs, and their artifacts after `bench merge`
    records/.quarantine/        files that are not valid records
    logs/<run_id>.log           output of the run's worker
    predictions/<run_id>.npz    test labels and predictions
    examples/<policy>__<pipeline>.png    augmented images (see `bench.store.artifacts`)
    weights/<run_id>.safetensors  the trained weights, if they were to be kept
    profiles/<run_id>.json.gz   a trace of some steps, next to a table of the slowest ops
    tensorboard/<run>/          event files; `bench.tensorboard` lists the other folders
    matrix.csv, matrix.md       the table, rebuilt from the records
    report.html, report/        the page, and its figures as files
    loaders.*                   results of `bench loaders`: the json, and files derived from it
"""

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell import Run
from bench.record import Record, RecordT
from bench.store.codec import RecordError, encode, quarantine, read_record
from bench.store.files import (
    TEMPORARY,
    StoreError,
    explained,
    is_stale,
    make_folder,
    replace_files,
    slug,
    sync_folder,
    sync_folders,
    write_atomically,
)
from bench.store.locks import held, serialized
from bench.store.predictions import Predictions, read_predictions, to_npz
from bench.text import Log, listed, printable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NEEDED_MIB = 64


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pauses garbage collection, which takes a fifth of the time to read 10,000 records."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def to_stderr(message: str) -> None:
    print(printable(message), file=sys.stderr)


class Store:
    """One group folder, created on the first write."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._records = self.folder / "records"
        self._attempts = self._records / ".attempts"

    def record_path(self, run_id: str) -> Path:
        """Path of a run's record."""
        return self._records / f"{run_id}.json"

    def log_path(self, run_id: str) -> Path:
        """Path of a run's log; creates its folder."""
        return self._make("logs") / f"{run_id}.log"

    def fresh_log(self, run_id: str) -> Path:
        """Path of a run's log, after removing log and weights of an earlier attempt."""
        log = self.log_path(run_id)
        for old in (log, self.weights_path(run_id)):
            with explained(f"remove the old file {old}"):
                old.unlink(missing_ok=True)
        return log

    def weights_path(self, run_id: str) -> Path:
        """Path of a run's trained weights, which exist if they were kept."""
        return self.folder / "weights" / f"{run_id}.safetensors"

    def tensorboard_folder(self) -> Path:
        """Folder of all event files."""
        return self.folder / "tensorboard"

    def tensorboard_path(self, run: Run) -> Path:
        """Folder of a run's event files: a readable name, made unique by part of the id."""
        return self.tensorboard_folder() / f"{slug(run.name, keep='_')}_{run.id[:8]}"

    def loaders_tensorboard_path(self, pipeline: str) -> Path:
        """Folder of the event files of one pipeline that `bench loaders` measured."""
        return self.tensorboard_folder() / "loaders" / slug(pipeline)

    def _make(self, name: str) -> Path:
        folder = self.folder / name
        with explained(f"make the folder {folder}"):
            make_folder(folder)
        return folder

    def check_writable(self) -> None:
        """Checks that the folder can be written and its disk has space, before training.

        Raises:
            StoreError: It is not a directory, cannot be written, or its disk is full.
        """
        records = self._make("records")
        trial = records / f"trial.{os.getpid()}.tmp"
        with explained(f"write to the results folder {self.folder}"):
            try:
                trial.write_bytes(b"\0" * 65536)
            finally:
                trial.unlink(missing_ok=True)
            for folder in (records, self.folder, self.folder.parent):
                sync_folder(folder)  # a process that died may not have synced them
            disk = os.statvfs(records)
        free_mib = disk.f_bavail * disk.f_frsize / 2**20
        if free_mib < NEEDED_MIB:
            raise StoreError(
                f"only {free_mib:.0f} MiB are free for {self.folder}: make room for at least "
                f"{NEEDED_MIB} MiB, or name another folder"
            )

    def write(self, record: Record) -> Record:
        """Writes a record atomically.

        An earlier record of the same run is moved to `.attempts/`, and the new one gets the next
        `attempt` number; a skipped run does not count as an attempt. An interrupted attempt does
        not replace a successful one and goes there itself.

        Raises:
            RecordError: The record is too large or invalid.
            StoreError: The file cannot be written, or is from a newer version of the suite.
        """
        path = self.record_path(record.run_id)
        with self._serialized():
            attempts = self.attempt_numbers(record.run_id)
            current = self._read_or_quarantine(Record, path, to_stderr)
            if current is not None and current.status == "skipped":
                current = None
            if current is not None:
                attempts.add(current.attempt)
            record = replace(record, attempt=max(attempts, default=0) + 1)
            text = encode(record)
            if current is not None and (current.status, record.status) == ("ok", "interrupted"):
                path = self._attempts / f"{record.run_id}.{record.attempt}.json"
            elif current is not None:
                kept = self._attempts / f"{record.run_id}.{current.attempt}.json"
                write_atomically(kept, path.read_bytes())
            write_atomically(path, text)
        return record

    @contextmanager
    def _serialized(self) -> Iterator[None]:
        """Meanwhile no other process writes or moves a record."""
        self._make("records")
        with serialized(self._records / ".lock"):
            yield

    def attempt_numbers(self, run_id: str) -> set[int]:
        """Numbers of the earlier attempts of a run, damaged ones included."""
        numbers = (path.name.split(".")[1] for path in self._attempts.glob(f"{run_id}.*.json"))
        return {int(number) for number in numbers if number.isdecimal()}

    def attempts(self, run_id: str, on_warning: Log = to_stderr) -> list[Record]:
        """Earlier records of a run, oldest first; damaged ones are moved to quarantine."""
        current = self.read(run_id, on_warning)
        numbers = sorted(self.attempt_numbers(run_id))
        if current is not None:  # after a crash the current record may be among them
            numbers = [number for number in numbers if number < current.attempt]
        paths = [self._attempts / f"{run_id}.{number}.json" for number in numbers]
        found = (self._read(Record, path, on_warning) for path in paths)
        return [record for record in found if record is not None]

    def read(self, run_id: str, on_warning: Log = to_stderr) -> Record | None:
        """The record of a run; None if there is none or it was damaged (and quarantined).

        Raises:
            StoreError: It is from a newer version of the suite.
        """
        return self._read(Record, self.record_path(run_id), on_warning)

    def records(self, on_warning: Log = to_stderr, *, sanitized: bool = False) -> list[Record]:
        """All records, ordered by id.

        Args:
            on_warning: Called with a message about each damaged file.
            sanitized: Whether to escape their texts for display.

        Raises:
            StoreError: One is from a newer version of the suite; it is left untouched.
        """
        return self.records_as(Record, on_warning, sanitized=sanitized)

    def records_as(
        self, kind: type[RecordT], on_warning: Log = to_stderr, *, sanitized: bool = False
    ) -> list[RecordT]:
        """Like `records`, each as a `Record` or as a `RecordSummary`, which is faster."""
        with explained(f"read {self._records}"):
            try:
                paths = sorted(self._records.iterdir(), key=lambda path: path.name)
            except FileNotFoundError:
                return []
        files = (path for path in paths if path.name.endswith(".json"))
        found = (self._read(kind, path, on_warning, sanitized) for path in files)
        with gc_paused():
            return [record for record in found if record is not None]

    def _read(
        self, kind: type[RecordT], path: Path, on_warning: Log, sanitized: bool = False
    ) -> RecordT | None:
        try:
            return read_record(kind, path, sanitized=sanitized)
        except RecordError as error:
            reason = str(error)
        try:
            with self._serialized():  # another process may be replacing it: read again
                return self._read_or_quarantine(kind, path, on_warning, sanitized)
        except StoreError:  # a read-only results folder can still be shown
            on_warning(f"{path} is left out: {reason}")
            return None

    def _read_or_quarantine(
        self, kind: type[RecordT], path: Path, on_warning: Log, sanitized: bool = False
    ) -> RecordT | None:
        try:
            return read_record(kind, path, sanitized=sanitized)
        except RecordError as error:
            on_warning(quarantine(path, self._records / ".quarantine", str(error)))
            return None

    @contextmanager
    def lock(
        self, *, wait: bool = False, notice: Log = to_stderr, advice: str = ""
    ) -> Iterator[None]:
        """Locks the folder for one writer; removes leftovers of processes that died.

        Args:
            notice: Called with a message when waiting, and about removed files.

        Raises:
            StoreError: Another process holds it; the message names it.
        """
        records = self._make("records")
        with held(self.folder / ".lock", notice=notice, wait=wait, advice=advice):
            removed = self._remove_unfinished()
            # A process that died may not have synced: a power cut could undo what we read.
            with explained(f"write {records}"):
                sync_folders((self._attempts, self._records / ".quarantine", records))
            if removed:
                notice(
                    f"removed unfinished files of a process that died from {self.folder}: "
                    f"{listed(removed, 3)}"
                )
            yield

    def unfinished(self) -> list[Path]:
        """Temporary files that a process left when it died.

        While nobody else holds the folder's lock, nobody writes records. Other temporary files may
        be in progress unless they are old.
        """
        found = [path for path in self.folder.rglob("*.tmp") if TEMPORARY.search(path.name)]
        quiet = (self._records, self._attempts)
        return sorted(path for path in found if path.parent in quiet or is_stale(path))

    def _remove_unfinished(self) -> list[str]:
        removed = []
        for path in self.unfinished():
            with suppress(OSError):  # its writer has just renamed it, or we may not remove it
                path.unlink()
                removed.append(str(path.relative_to(self.folder)))
        return removed

    @contextmanager
    def deriving(self) -> Iterator[None]:
        """Holds a lock while records are read and files derived from them are written.

        The last of several concurrent processes thus derives its files from all records.
        """
        with serialized(self.folder / ".derived.lock"):
            yield

    def save_predictions(
        self,
        run_id: str,
        labels: "ArrayLike",
        predictions: "ArrayLike",
        positives: "ArrayLike | None" = None,
    ) -> Path:
        """Stores a run's test-set predictions; shapes as in `Predictions`."""
        path = self._predictions_path(run_id)
        write_atomically(path, to_npz(labels, predictions, positives))
        return path

    def load_predictions(self, run_id: str) -> Predictions:
        """A run's test-set predictions; StoreError if they were not kept or cannot be read."""
        try:
            return read_predictions(self._predictions_path(run_id))
        except FileNotFoundError as error:
            raise StoreError(f"no predictions of run {run_id} in {self.folder}") from error

    def _predictions_path(self, run_id: str) -> Path:
        return self.folder / "predictions" / f"{run_id}.npz"

    def write_derived(self, name: str, content: str | bytes) -> Path:
        """Writes a derived file ("matrix.md") and returns its path."""
        path = self.folder / name
        write_atomically(path, content.encode() if isinstance(content, str) else content)
        return path

    def replace_derived(self, name: str, files: Mapping[str, bytes]) -> None:
        """Writes all files of a derived folder ("report") and removes outdated ones."""
        with self.deriving():
            replace_files(self.folder / name, files)
