"""Checks the files of a group folder: records, attempts, predictions and others."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.cell import distinct_conditions
from bench.check.consistency import problems
from bench.record import Record
from bench.store import locks
from bench.store.artifacts import picture
from bench.store.codec import RecordError, read_record
from bench.store.files import UnusableFile
from bench.store.store import Store

Level = Literal["wrong", "stale", "fixed", "note"]

RUN_AGAIN = "run the grid again, which trains what has no record"
RESERVED = (".lock", ".attempts", ".quarantine")
_ATTEMPT = re.compile(r"([0-9a-f]{16})\.(\d+)\.json")


@dataclass(frozen=True)
class Finding:
    """A problem with a file, or a note about it.

    Args:
        level: "wrong": it cannot be fixed here; "stale": it can be rebuilt from the records;
            "fixed": it was rebuilt; "note": it is not an error.
    """

    level: Level
    path: Path
    problem: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.level:<6} {self.path}: {self.problem}{advice}"


@dataclass(frozen=True, kw_only=True)
class RecordFiles:
    """The record files of a folder.

    Args:
        refused: Errors of unreadable files and those of a newer version, which are not touched.
    """

    records: Mapping[Path, Record]
    damaged: Mapping[Path, str]
    refused: Mapping[Path, UnusableFile]

    @property
    def by_id(self) -> dict[str, Record]:
        """The usable records by run id."""
        return {record.run_id: record for record in self.records.values()}


def read_all(folder: Path) -> RecordFiles:
    """Reads every record in a folder without moving any."""
    records, damaged, refused = {}, {}, {}
    for path in _entries(folder):
        if path.suffix != ".json":
            continue
        try:
            record = read_record(Record, path)
        except RecordError as error:
            damaged[path] = str(error)
        except UnusableFile as error:
            refused[path] = error
        else:
            if record is not None:
                records[path] = record
    return RecordFiles(records=records, damaged=damaged, refused=refused)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # it is missing, or unreadable, which was reported before
        return []


def check_records(store: Store, read: RecordFiles) -> Iterator[Finding]:
    """Checks that records are consistent, and reports other files in their folder."""
    folder = store.folder / "records"
    yield from _refused(read)
    for path, record in read.records.items():
        for problem in problems(record):
            advice = f"its values cannot be trusted: move it out of records/, then {RUN_AGAIN}"
            yield Finding("wrong", path, problem, advice)
    records = read.records.values()
    kinds = distinct_conditions(
        (one.cell.source, one.fingerprint, one.cell.scale) for one in records
    )
    if len(kinds) > 1:
        yield Finding(
            "wrong",
            folder,
            f"it mixes records of {', '.join(kinds)}",
            "a table never mixes them: give each a separate group folder",
        )
    for path in _entries(folder):
        if path.name not in RESERVED and path.suffix not in (".json", ".tmp"):
            yield Finding("note", path, "not a file of the suite, left out")


def _refused(read: RecordFiles) -> Iterator[Finding]:
    for path, error in read.refused.items():
        yield Finding("wrong", path, error.problem, f"{error.advice}; it is left as it is")


def check_attempts(read: RecordFiles, attempts: RecordFiles) -> Iterator[Finding]:
    """Checks that earlier records of repeated runs have the right names."""
    yield from _refused(attempts)
    for path, record in attempts.records.items():
        match = _ATTEMPT.fullmatch(path.name)
        if match is None or int(match[2]) != record.attempt:
            problem = f"it holds attempt {record.attempt} of run {record.run_id}"
            advice = f"name it {record.run_id}.{record.attempt}.json if there is none"
            yield Finding("wrong", path, problem, advice)
        elif record.run_id not in read.by_id:
            yield Finding("note", path, "its run has no current record", RUN_AGAIN)


def check_quarantine(store: Store, read: RecordFiles) -> Iterator[Finding]:
    """Reports damaged files that were moved to quarantine."""
    for path in _entries(store.folder / "records" / ".quarantine"):
        if path.name.partition(".")[0] in read.by_id:
            problem = "was set aside as damaged, its run has a record since"
            yield Finding("note", path, problem, "delete it when you no longer need it")
        else:
            yield Finding("note", path, "was set aside as damaged", RUN_AGAIN)


def check_predictions(store: Store, read: RecordFiles) -> Iterator[Finding]:
    """Checks that predictions give the confusion matrix of their record."""
    folder = store.folder / "predictions"
    scored = {id_: record for id_, record in read.by_id.items() if record.metrics is not None}
    for path in _entries(folder):
        if path.suffix == ".npz" and path.stem not in scored:
            yield Finding("note", path, "no record has scores from it")
        elif path.suffix not in (".npz", ".tmp"):
            yield Finding("note", path, "not a file of the suite, left out")
    for run_id, record in scored.items():
        path = folder / f"{run_id}.npz"
        if not path.exists():
            advice = "bench compare cannot test its images against those of another run"
            yield Finding("note", path, "predictions were not kept", advice)
        elif problem := _prediction_problem(store, record):
            advice = "delete it, or move its record away as well and run the grid again"
            yield Finding("wrong", path, problem, advice)


def _prediction_problem(store: Store, record: Record) -> str:
    import numpy as np

    assert record.metrics is not None
    try:
        found = store.load_predictions(record.run_id)
    except UnusableFile as error:
        return error.problem
    classes = len(record.metrics.per_class)
    largest = max(
        (int(array.max()) for array in (found.labels, found.predictions) if len(array)), default=0
    )
    if largest >= classes:
        return f"it has class {largest}, its record has {classes} classes"
    pairs = found.labels.astype(np.int64) * classes + found.predictions.astype(np.int64)
    counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    if not np.array_equal(counts, np.array(record.metrics.confusion)):
        return "it does not give the confusion matrix of its record"
    return ""


def check_examples(store: Store) -> Iterator[Finding]:
    """Checks that the strips of augmented images are complete PNG files."""
    for path in sorted((store.folder / "examples").glob("*.png")):
        if not picture(path):
            advice = "delete it: the next run with its policy and pipeline makes it again"
            yield Finding("wrong", path, "is not a whole PNG picture", advice)


def check_leftovers(store: Store) -> Iterator[Finding]:
    """Reports leftovers of processes that died; the folder must not be locked."""
    lock = store.folder / ".lock"
    holder = locks.last_holder(lock)
    if holder and holder.is_alive() is False:
        yield Finding("stale", lock, f"was left locked by {holder}, which has ended")
    for path in store.unfinished():
        yield Finding("stale", path, "was left unfinished by a process that died")
