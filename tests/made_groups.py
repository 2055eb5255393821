"""Groups for tests of merging, and what they contain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.record import Record
from bench.store.codec import decode, digest, encode
from bench.store.merge import merge_run, stored_records
from bench.store.store import Store
from tests.made import made_failure, made_record

GROUP = "epyc_shapes_cpu"
LOCKS = (".lock", ".merge.lock", ".derived.lock", ".lock.holder", ".merge.lock.holder")


def at(hour: int, seed: int = 0, status: str = "ok", **fields: Any) -> Record:
    made = made_record(seed) if status == "ok" else made_failure(seed, status=status)
    return replace(made, finished=f"2026-01-01T{hour:02d}:00:00+00:00", **fields)


def group(results: Path, name: str = GROUP) -> Store:
    return Store(results / name)


def keep(store: Store, record: Record, *beside: str) -> Record:
    """Writes a record and artifacts of these kinds, each with its own content."""
    written = store.write(record)
    for kind in beside:
        put(store.folder / name_of(kind, record), f"{kind} of {record.finished}".encode())
    return written


def name_of(kind: str, record: Record) -> str:
    endings = {"predictions": "npz", "logs": "log", "profiles": "txt"}
    return f"{kind}/{record.run_id}.{endings[kind]}"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def place(store: Store, record: Record, *, earlier: bool) -> None:
    """Writes a record as the current one of its run, or as an earlier attempt."""
    folder = store.folder / "records"
    name = f".attempts/{record.run_id}.{record.attempt}" if earlier else record.run_id
    put(folder / f"{name}.json", encode(record))


def mark(content: bytes) -> str:
    """Hash of a record without the number of its attempt."""
    return digest(msgspec.json.decode(content) | {"attempt": 0})


def marks(folder: Path, pattern: str = "*/records/**/*.json") -> set[str]:
    """Hashes of all records in a folder, earlier ones included."""
    return {mark(path.read_bytes()) for path in folder.glob(pattern) if path.is_file()}


def tried(store: Store, run_id: str) -> dict[int, str]:
    """The earlier attempts of a run: the hour at which each ended, by number."""
    paths = (store.folder / "records" / ".attempts").glob(f"{run_id}.*.json")
    found = [decode(path.read_bytes()) for path in paths]
    assert all(record.run_id == run_id for record in found)
    return {record.attempt: record.finished[11:13] for record in found}


def merge_records(sources: Sequence[Path], out: Path) -> None:
    """Merges the records of the run of `at(1)`, without derived files."""
    incoming = [
        record
        for source in sources
        for record in stored_records(
            source / GROUP, at(1).run_id, lambda path, why: pytest.fail(why)
        )
    ]
    (out / GROUP / "records").mkdir(parents=True, exist_ok=True)
    merge_run(out / GROUP, incoming, pytest.fail)


def everything(folder: Path) -> dict[str, bytes]:
    """All files of a folder except locks and unfinished files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in LOCKS and path.suffix != ".tmp"
    }
