"""The results folder: atomic writes, validated reads, one writer at a time.

Nothing else in the suite touches these files. One `Store` is one group, the runs of one machine,
source and scale:

    records/<run_id>.json       what each run left behind; everything else is derived or extra
    records/.attempts/          earlier records of runs that were tried again
    records/.quarantine/        files that are no valid record
    logs/<run_id>.log           output of the run's worker
    predictions/<run_id>.npz    test labels and predictions
    examples/<policy>__<pipeline>.png    augmented images, as `bench.examples` names them
    profiles/<run_id>.json.gz   a trace of some steps, and beside it a table of what took longest
    tensorboard/<run>/          event files, and beside the runs what `bench.tensorboard` lists
    matrix.csv, matrix.md       the table, rebuilt from the records
    report.html, report/        the page, and its pictures as files
    loaders.*                   what `bench loaders` found: json is all, the rest derived from it
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from bench.cell import Run
from bench.derived import replace_files
from bench.files import StoreError, exclusive, explained, slug, write_atomically
from bench.groups import Group, group_folder, groups
from bench.record import NewerRecord, Record, RecordError, decode, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

STALE_TEMPORARY_S = 60.0
SPACE_NEEDED_MIB = 64


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a run predicted for the test set, in the order of the source.

    Args:
        labels: int (N,).
        predictions: int (N,).
        probabilities: float (N, classes), or None when they were not kept.
        positives: int (classes, 2, thresholds): true and false positives of each class where its
            probability is at least a threshold, which divide 0 to 1 evenly. None in old files.
    """

    labels: "np.ndarray"
    predictions: "np.ndarray"
    probabilities: "np.ndarray | None" = None
    positives: "np.ndarray | None" = None


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


class Store:
    """One group folder.

    Args:
        folder: The group's folder; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def _records(self) -> Path:
        return self.folder / "records"

    @property
    def _attempts(self) -> Path:
        return self._records / ".attempts"

    def record_path(self, run_id: str) -> Path:
        """Where the record of a run is or will be."""
        return self._records / f"{run_id}.json"

    def log_path(self, run_id: str) -> Path:
        """Where the output of a run goes; its folder exists after the call."""
        return self._inside("logs") / f"{run_id}.log"

    def tensorboard_path(self, run: Run) -> Path:
        """Folder of a run's event files: the name to read, the id to tell budgets apart."""
        return self.tensorboard_folder() / f"{slug(run.name, keep='_')}_{run.id[:8]}"

    def tensorboard_folder(self) -> Path:
        """Folder of all event files."""
        return self.folder / "tensorboard"

    def loaders_tensorboard_path(self, pipeline: str) -> Path:
        """Folder of the event files of one pipeline, measured alone."""
        return self.tensorboard_folder() / "loaders" / slug(pipeline)

    def _inside(self, name: str) -> Path:
        folder = self.folder / name
        with explained(f"make the folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def check_writable(self) -> None:
        """Tries to write to the folder and to have room there, before anything is trained.

        Raises:
            StoreError: It is no directory, cannot be written, or its disk is full.
        """
        self._inside("records")
        trial = self._records / f"trial.{os.getpid()}.tmp"
        with explained(f"write to the results folder {self.folder}"):
            try:
                trial.write_bytes(b"\0" * 65536)
            finally:
                trial.unlink(missing_ok=True)
            disk = os.statvfs(self._records)
        free_mib = disk.f_bavail * disk.f_frsize / 2**20
        if free_mib < SPACE_NEEDED_MIB:
            raise StoreError(
                f"only {free_mib:.0f} MiB are free for {self.folder}: make room for at least "
                f"{SPACE_NEEDED_MIB} MiB, or name another folder"
            )

    def write(self, record: Record) -> Record:
        """Writes a record so that a crash leaves the old file or the new one, never a part.

        An earlier record of the same run goes to `.attempts/` and the new one's `attempt` counts
        up; a skipped run was no attempt.

        Returns:
            The record as written.

        Raises:
            StoreError: The file cannot be written, or a newer version of the suite wrote it.
        """
        path = self.record_path(record.run_id)
        attempts = self._attempt_numbers(record.run_id)
        current = self.read(record.run_id)
        if current is not None and current.status != "skipped":
            attempts.append(current.attempt)
            kept = self._attempts / f"{record.run_id}.{current.attempt}.json"
            write_atomically(kept, path.read_bytes())
        record = replace(record, attempt=max(attempts, default=0) + 1)
        write_atomically(path, encode(record))
        return record

    def _attempt_numbers(self, run_id: str) -> list[int]:
        names = (path.name for path in self._attempts.glob(f"{run_id}.*.json"))
        return [int(number) for name in names if (number := name.split(".")[1]).isdecimal()]

    def attempts(self, run_id: str) -> list[Record]:
        """Earlier records of a run that was tried again, oldest first."""
        numbers = sorted(self._attempt_numbers(run_id))
        return [decode((self._attempts / f"{run_id}.{n}.json").read_bytes()) for n in numbers]

    def read(self, run_id: str, on_warning: Callable[[str], None] = _to_stderr) -> Record | None:
        """The record of a run; None when there is none or it was damaged (and moved away).

        Raises:
            StoreError: A newer version of the suite wrote it.
        """
        path = self.record_path(run_id)
        try:
            return self._decode(path, on_warning)
        except FileNotFoundError:
            return None

    def records(self, on_warning: Callable[[str], None] = _to_stderr) -> list[Record]:
        """All records, in the order of their ids.

        Args:
            on_warning: Is told, in one sentence, of each damaged file and where it was moved.

        Raises:
            StoreError: A newer version of the suite wrote one of them; it is left untouched.
        """
        try:
            paths = sorted(self._records.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot read {self._records}: {error.strerror}") from error
        self._clean(paths)
        found = (self._decode(path, on_warning) for path in paths if path.suffix == ".json")
        return [record for record in found if record is not None]

    def _decode(self, path: Path, on_warning: Callable[[str], None]) -> Record | None:
        try:
            record = decode(path.read_bytes())
            if record.run_id != path.stem:
                raise RecordError(f"it holds the record of another run, {record.run_id}")
            return record
        except NewerRecord as error:
            raise StoreError(f"{path} was {error}") from error
        except RecordError as error:
            on_warning(self._quarantine(path, str(error)))
            return None

    def _quarantine(self, path: Path, reason: str) -> str:
        folder = self._records / ".quarantine"
        target = folder / path.name
        try:
            folder.mkdir(exist_ok=True)
            for number in range(1, 1000):
                if not target.exists():
                    break
                target = folder / f"{path.stem}.{number}.json"
            path.rename(target)
        except OSError:  # a read-only results folder can still be shown
            return f"{path} is left out: {reason}"
        return f"{path} was moved to {target}, its run counts as not done: {reason}"

    def _clean(self, paths: list[Path]) -> None:
        for path in paths:
            if path.suffix != ".tmp":
                continue
            with suppress(OSError):  # its writer may be alive; a reader may lack the right
                if time.time() - path.stat().st_mtime > STALE_TEMPORARY_S:
                    path.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for one writer; the lock of a process that died is free at once.

        Raises:
            StoreError: Another process holds it; the message names it.
        """
        self._inside("records")
        with exclusive(self.folder / ".lock"):
            yield

    def save_predictions(
        self,
        run_id: str,
        labels: "ArrayLike",
        predictions: "ArrayLike",
        probabilities: "ArrayLike | None" = None,
        positives: "ArrayLike | None" = None,
    ) -> Path:
        """Keeps what a run predicted for the test set; shapes as in `Predictions`."""
        import numpy as np

        arrays = {"labels": np.asarray(labels), "predictions": np.asarray(predictions)}
        for name, extra in (("probabilities", probabilities), ("positives", positives)):
            if extra is not None:
                arrays[name] = np.asarray(extra)
        buffer = BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        path = self.folder / "predictions" / f"{run_id}.npz"
        write_atomically(path, buffer.getvalue())
        return path

    def load_predictions(self, run_id: str) -> Predictions:
        """What a run predicted.

        Raises:
            StoreError: Its predictions were not kept or cannot be read.
        """
        import numpy as np

        path = self.folder / "predictions" / f"{run_id}.npz"
        try:
            with np.load(path, allow_pickle=False) as found:
                return Predictions(**{name: found[name] for name in found.files})
        except FileNotFoundError as error:
            raise StoreError(f"no predictions of run {run_id} in {self.folder}") from error
        except (OSError, ValueError, TypeError, BadZipFile) as error:
            raise StoreError(f"{path} cannot be read, run it again: {error}") from error

    def write_derived(self, name: str, content: str | bytes) -> Path:
        """Writes a file that is derived from the records ("matrix.md") and returns its path."""
        path = self.folder / name
        write_atomically(path, content.encode() if isinstance(content, str) else content)
        return path

    def replace_derived(
        self, name: str, files: Mapping[str, bytes], on_warning: Callable[[str], None] = _to_stderr
    ) -> None:
        """Writes all files of a derived folder ("report"); older ones of ours are removed."""
        replace_files(self.folder / name, files, on_warning)


__all__ = ["Group", "Predictions", "Store", "StoreError", "group_folder", "groups"]
