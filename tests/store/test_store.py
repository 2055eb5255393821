"""The store: nothing finished is ever lost, nothing damaged is ever used.

Garbage collection pauses while records are read, and is as it was before afterwards.
"""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli import table
from bench.record import Record
from bench.report import table as tables
from bench.store import codec, files
from bench.store import store as storing
from bench.store.codec import RecordTooLarge, encode
from bench.store.files import StoreError
from bench.store.locks import current_holder
from bench.store.store import Store, gc_paused
from tests.checkout import ROOT
from tests.faults.permissions import as_ordinary_user
from tests.made import made_failure, made_record, made_run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "räksmörgås results" / "cpu_shapes_cpu")


def put(store: Store, name: str, content: bytes) -> Path:
    path = store.folder / "records" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def child(code: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_record_is_read_as_written(store: Store) -> None:
    written = store.write(made_record())
    found = store.read(written.run_id)
    assert found is not None
    assert replace(found, content_hash="") == written
    assert store.records() == [found]


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.records() == []
    assert store.read("0123456789abcdef") is None
    assert not store.folder.exists()


def test_a_new_attempt_keeps_the_earlier_ones(store: Store) -> None:
    failure, run_id = made_failure(), made_failure().run_id
    written = [store.write(failure), store.write(failure), store.write(made_record())]
    assert [record.attempt for record in written] == [1, 2, 3]
    assert [record.status for record in store.records()] == ["ok"]
    earlier = store.attempts(run_id)
    assert [(record.attempt, record.status) for record in earlier] == [
        (1, "crashed"),
        (2, "crashed"),
    ]


def test_what_a_crash_left_among_the_attempts_is_shown_once(store: Store) -> None:
    failure = store.write(made_failure())
    kept = store.record_path(failure.run_id).read_bytes()
    put(store, f".attempts/{failure.run_id}.1.json", kept)
    assert store.attempts(failure.run_id) == []
    assert store.write(made_record()).attempt == 2
    assert [record.attempt for record in store.attempts(failure.run_id)] == [1]


def test_a_damaged_attempt_goes_to_quarantine_and_its_number_is_not_given_again(
    store: Store,
) -> None:
    for _ in range(3):
        last = store.write(made_failure())
    path = put(store, f".attempts/{last.run_id}.2.json", b"{")
    warnings: list[str] = []
    assert [one.attempt for one in store.attempts(last.run_id, warnings.append)] == [1]
    assert str(path) in warnings[0]
    assert not path.exists()
    assert store.write(made_failure()).attempt == 4


def test_a_record_written_anew_while_a_damaged_one_is_read_is_not_moved_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = made_record()
    path = put(store, f"{record.run_id}.json", b"{")
    read, times = codec.read_file, iter((b"{",))

    def late(path_: Path, most: int) -> bytes:
        content = next(times, None)
        if content is None:
            return read(path_, most)
        path.write_bytes(encode(record))  # by another process, as this one has read its bytes
        return content

    monkeypatch.setattr(codec, "read_file", late)
    warnings: list[str] = []
    assert store.read(record.run_id, warnings.append) is not None
    assert (path.exists(), warnings) == (True, [])


def test_a_record_too_large_to_be_written_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.write(made_failure())
    before = store.record_path(kept.run_id).read_bytes()
    monkeypatch.setattr(codec, "LARGEST_FILE", len(before) + 100)
    with pytest.raises(RecordTooLarge):
        store.write(made_record())
    assert store.record_path(kept.run_id).read_bytes() == before
    assert store.attempts(kept.run_id) == []


def test_attempts_count_on_after_ten(store: Store) -> None:
    for _ in range(12):
        last = store.write(made_failure())
    assert last.attempt == 12
    assert [record.attempt for record in store.attempts(last.run_id)] == list(range(1, 12))


def test_a_skipped_run_is_no_attempt(store: Store) -> None:
    for _ in range(3):
        store.write(made_failure(status="skipped"))
    assert store.write(made_record()).attempt == 1
    assert store.attempts(made_record().run_id) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: b"", "not JSON"),
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: b"\0" * len(text), "not JSON"),
        (lambda text: text.replace(b'"seed":1', b'"seed":2'), "hash does not match"),
    ],
)
def test_a_damaged_record_goes_to_quarantine(store: Store, damage: object, said: str) -> None:
    good, bad = store.write(made_record(0)), made_record(1)
    path = put(store, f"{bad.run_id}.json", damage(encode(bad)))  # type: ignore[operator]
    warnings: list[str] = []
    assert [record.run_id for record in store.records(warnings.append)] == [good.run_id]
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert said in warnings[0]
    assert not path.exists()
    assert (path.parent / ".quarantine" / path.name).exists()
    assert store.write(bad).attempt == 1
    assert len(store.records()) == 2


def test_quarantine_overwrites_nothing(store: Store) -> None:
    for content in (b"one", b"two", b"three"):
        put(store, "x.json", content)
        store.records(lambda _: None)
    kept = (store.folder / "records" / ".quarantine").iterdir()
    assert sorted(path.read_bytes() for path in kept) == [b"one", b"three", b"two"]


def test_a_copied_record_is_not_counted_twice(store: Store) -> None:
    record = store.write(made_record())
    put(store, "copy.json", store.record_path(record.run_id).read_bytes())
    warnings: list[str] = []
    assert len(store.records(warnings.append)) == 1
    assert record.run_id in warnings[0]


def test_a_newer_record_is_refused_and_left_untouched(store: Store) -> None:
    newer = made_record(record={"schema_version": 99})
    content = encode(newer)
    path = put(store, f"{newer.run_id}.json", content)
    with pytest.raises(StoreError, match=r"schema 99.*upgrade"):
        store.records()
    with pytest.raises(StoreError, match="schema 99"):
        store.write(made_record())
    assert path.read_bytes() == content


HOLDER = """
import sys, time
from pathlib import Path
from bench.store.store import Store
with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(store: Store) -> Iterator["subprocess.Popen[str]"]:
    process = child(HOLDER, store.folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_told_who_holds_the_folder(
    store: Store, holder: "subprocess.Popen[str]"
) -> None:
    with (
        pytest.raises(StoreError, match=rf"already running \(pid {holder.pid} .*since 20"),
        store.lock(),
    ):
        pytest.fail("the lock was given twice")


def test_the_lock_of_a_dead_process_is_free(store: Store, holder: "subprocess.Popen[str]") -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with store.lock():
        holder = current_holder(store.folder / ".lock")
        assert holder is not None
        assert holder.pid == os.getpid()
    with store.lock():
        pass


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_text("no folder")
    for folder in (file, file / "group"):
        with pytest.raises(StoreError, match=f"{file}.*(Not a directory|File exists)"):
            Store(folder).check_writable()


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with as_ordinary_user(), pytest.raises(StoreError, match="Permission denied; permit it"):
        Store(tmp_path / "group").check_writable()


def test_a_read_only_disk_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StoreError, match="Read-only file system"):
        store.check_writable()


def test_a_disk_without_room_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        values = list(real(path))
        values[4] = 10
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", full)
    with pytest.raises(StoreError, match="MiB are free"):
        store.check_writable()


def test_little_room_for_many_runs_is_warned_of(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def scarce(path: Path) -> os.statvfs_result:
        values = list(real(path))
        values[4] = 100 * 2**20 // values[1]
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", scarce)
    assert store.check_writable(runs=100) == ""
    warning = store.check_writable(runs=1000)
    assert "100 MiB are free" in warning
    assert "little for 1,000 runs: make room for at least 314 MiB" in warning


def test_a_good_folder_is_made_and_left_clean(store: Store) -> None:
    assert store.check_writable() == ""
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_records_can_be_shown_where_nothing_can_be_moved(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(made_record())
    put(store, "bad.json", b"bad")

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    warnings: list[str] = []
    assert len(store.records(warnings.append)) == 1
    assert "left out" in warnings[0]


def test_paths_of_a_run_are_safe_and_apart(store: Store) -> None:
    one, other = (
        made_run(pipeline="kornia[compiled]"),
        made_run(pipeline="kornia[compiled]", epochs=9),
    )
    path = store.tensorboard_path(one)
    assert path.parent == store.folder / "tensorboard"
    assert path.name.startswith("resnet18-sgd-flip_crop-kornia-compiled-seed0")
    assert path != store.tensorboard_path(other)
    assert store.log_path(one.id).parent.is_dir()


def test_writing_is_atomic_for_derived_files_too(store: Store) -> None:
    path = store.write_derived("matrix.md", "first")
    assert path.read_text() == "first"
    with pytest.raises(UnicodeEncodeError):
        store.write_derived("matrix.md", "\udc00")
    assert path.read_text() == "first"


def test_a_thousand_records_are_read_in_less_than_a_second(store: Store) -> None:
    for seed in range(1000):
        record = made_record(seed, epochs=16)
        put(store, f"{record.run_id}.json", encode(record))
    start = time.process_time()
    assert len(store.records()) == 1000
    assert time.process_time() - start < 1.0


def test_the_record_is_on_disk_before_its_name_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(made_record(1))
    order: list[str] = []
    fsync, replace_ = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        Path, "replace", lambda path, to: (order.append("rename"), replace_(path, to))
    )
    store.write(made_record())
    assert order == ["fsync", "rename", "fsync"]


def fail_within() -> None:
    with gc_paused():
        assert not gc.isenabled()
        raise ValueError("it broke")


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_collection_is_as_it_was_before_whatever_happens(was_on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(ValueError, match="it broke"):
            fail_within()
        assert gc.isenabled() == was_on
    finally:
        (gc.enable if before else gc.disable)()


def test_garbage_collection_pauses_while_records_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).write(made_record())
    seen: list[bool] = []
    read = storing.read_record

    def watched(kind: type[Record], path: Path, *, sanitized: bool = False) -> Record | None:
        seen.append(gc.isenabled())
        return read(kind, path, sanitized=sanitized)

    monkeypatch.setattr(storing, "read_record", watched)
    assert len(Store(tmp_path).records()) == 1
    assert seen == [False]
    assert gc.isenabled()


def test_garbage_collection_pauses_until_the_table_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "m_shapes_cpu").write(made_record())
    seen: list[bool] = []
    render_all = tables.render_all

    def watched(*args: Any, **options: Any) -> str:
        seen.append(gc.isenabled())
        return render_all(*args, **options)

    monkeypatch.setattr(tables, "render_all", watched)
    table.table(tmp_path, form="md")
    assert seen == [False]
    assert gc.isenabled()
