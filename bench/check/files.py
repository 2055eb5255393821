"""The files of a group folder: records, attempts, predictions, and what else lies there.

One thing that `bench check` found.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.check.consistency import problems
from bench.record import Record
from bench.store import files, locks
from bench.store.artifacts import picture
from bench.store.codec import RecordError, read_record
from bench.store.files import UnusableFile
from bench.store.store import Store

Level = Literal["wrong", "stale", "mended", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A file that is not as it should be, or that is worth knowing of.

    Args:
        level: "wrong" cannot be mended here; "stale" can be made anew from the records, and was
            not; "mended" was; "note" is no fault.
        path: The file or folder.
        problem: What is the matter, in a few words.
        advice: What to do; "" for nothing.
    """

    level: Level
    path: Path
    problem: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.level:<6} {self.path}: {self.problem}{advice}"


AGAIN = "run the grid again, which trains what has no record"
RESERVED = (".lock", ".attempts", ".quarantine")
_ATTEMPT = re.compile(r"([0-9a-f]{16})\.(\d+)\.json")


@dataclass(frozen=True, kw_only=True)
class Read:
    """The records of a folder, and what is wrong with the others.

    Args:
        records: By path, those that can be used.
        damaged: By path, why the others cannot.
        refused: By path, why some are not even to be touched: a newer version wrote them.
    """

    records: Mapping[Path, Record]
    damaged: Mapping[Path, str]
    refused: Mapping[Path, str]


def read_all(folder: Path) -> Read:
    """Reads every record in a folder, and moves none."""
    records, damaged, refused = {}, {}, {}
    for path in _entries(folder):
        if path.suffix != ".json":
            continue
        try:
            record = read_record(Record, path)
        except RecordError as error:
            damaged[path] = str(error)
        except UnusableFile as error:
            refused[path] = error.problem
        else:
            if record is not None:
                records[path] = record
    return Read(records=records, damaged=damaged, refused=refused)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # there is none; one that cannot be read has been told before
        return []


def in_records(store: Store, read: Read) -> Iterator[Finding]:
    """What the records say of themselves, and what lies beside them."""
    folder = store.folder / "records"
    for path, reason in read.refused.items():
        yield Finding(level="wrong", path=path, problem=reason, advice="it is left as it is")
    for path, record in read.records.items():
        for problem in problems(record):
            yield Finding(
                level="wrong",
                path=path,
                problem=problem,
                advice="its figures cannot be believed: move it out of records/, then " + AGAIN,
            )
    places = {(record.cell.source, record.cell.scale) for record in read.records.values()}
    if len(places) > 1:
        said = ", ".join(f"{source} at {scale} scale" for source, scale in sorted(places))
        yield Finding(
            level="wrong",
            path=folder,
            problem=f"it mixes records of {said}",
            advice="a table never mixes them: give each a group folder of its own",
        )
    for path in _entries(folder):
        if path.name not in RESERVED and path.suffix not in (".json", ".tmp"):
            yield Finding(level="note", path=path, problem="no file of the suite, left out")


def in_attempts(store: Store, read: Read, attempts: Read) -> Iterator[Finding]:
    """What earlier records of runs that were tried again say of themselves."""
    known = {record.run_id for record in read.records.values()}
    for path, reason in attempts.refused.items():
        yield Finding(level="wrong", path=path, problem=reason, advice="it is left as it is")
    for path, record in attempts.records.items():
        match = _ATTEMPT.fullmatch(path.name)
        if match is None or int(match[2]) != record.attempt:
            yield Finding(
                level="wrong",
                path=path,
                problem=f"it holds attempt {record.attempt} of run {record.run_id}",
                advice=f"name it {record.run_id}.{record.attempt}.json if there is none",
            )
        elif record.run_id not in known:
            yield Finding(
                level="note", path=path, problem="its run has no present record", advice=AGAIN
            )


def in_quarantine(store: Store, read: Read) -> Iterator[Finding]:
    """Files that were set aside as damaged."""
    known = {record.run_id for record in read.records.values()}
    for path in _entries(store.folder / "records" / ".quarantine"):
        done = path.name.partition(".")[0] in known
        yield Finding(
            level="note",
            path=path,
            problem="was set aside as damaged" + (", its run has a record since" if done else ""),
            advice="delete it when it is of no more use" if done else AGAIN,
        )


def in_predictions(store: Store, read: Read) -> Iterator[Finding]:
    """Whether predictions give the confusion matrix of their record."""
    folder = store.folder / "predictions"
    known = {record.run_id: record for record in read.records.values()}
    for path in _entries(folder):
        record = known.get(path.stem)
        if path.suffix == ".npz" and (record is None or record.metrics is None):
            yield Finding(level="note", path=path, problem="no record is scored by it")
        elif path.suffix not in (".npz", ".tmp"):
            yield Finding(level="note", path=path, problem="no file of the suite, left out")
    for record in known.values():
        if record.metrics is None:
            continue
        path = folder / f"{record.run_id}.npz"
        if not path.exists():
            yield Finding(
                level="note",
                path=path,
                problem="predictions were not kept",
                advice="the report's most mistaken images leave its run out",
            )
            continue
        problem = _against(store, record)
        if problem:
            yield Finding(
                level="wrong",
                path=path,
                problem=problem,
                advice="delete it, or move its record away as well and run the grid again",
            )


def _against(store: Store, record: Record) -> str:
    import numpy as np

    assert record.metrics is not None
    try:
        found = store.load_predictions(record.run_id)
    except UnusableFile as error:
        return error.problem
    classes = len(record.metrics.per_class)
    largest = max(
        (int(one.max()) for one in (found.labels, found.predictions) if len(one)), default=0
    )
    if largest >= classes:
        return f"it names class {largest}, its record has {classes}"
    pairs = found.labels.astype(np.int64) * classes + found.predictions.astype(np.int64)
    counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    if not np.array_equal(counts, np.array(record.metrics.confusion)):
        return "it does not give the confusion matrix of its record"
    return ""


def in_examples(store: Store) -> Iterator[Finding]:
    """Whether the strips of augmented images are pictures."""
    for path in sorted((store.folder / "examples").glob("*.png")):
        if not picture(path):
            yield Finding(
                level="wrong",
                path=path,
                problem="is no whole PNG picture",
                advice="delete it: the next run with its policy and pipeline makes it anew",
            )


def left_by_the_dead(store: Store) -> Iterator[Finding]:
    """The note of a lock and unfinished files of processes that died; the next lock removes them.

    Nobody may hold the lock.
    """
    records = store.folder / "records"
    lock = store.folder / ".lock"
    holder = locks.last_holder(lock)
    if holder and holder.is_alive() is False:
        yield Finding(
            level="stale", path=lock, problem=f"was left locked by {holder}, which is gone"
        )
    for path in files.unfinished(store.folder, nobody_writes=(records, records / ".attempts")):
        yield Finding(
            level="stale", path=path, problem="was left unfinished by a process that died"
        )
