"""The store: finished records are never lost, damaged ones never used."""

import os
from pathlib import Path

import pytest

from bench.store import codec
from bench.store.codec import RecordTooLarge, encode
from bench.store.files import StoreError
from bench.store.store import Store
from tests.made import made_failure, made_record, made_run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "räksmörgås results" / "cpu_shapes_cpu")


def put(store: Store, name: str, content: bytes) -> Path:
    path = store.folder / "records" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_empty_store_has_nothing_and_a_copied_record_is_not_counted_twice(store: Store) -> None:
    assert store.records() == []
    assert store.read("0123456789abcdef") is None
    assert not store.folder.exists()
    record = store.write(made_record())
    put(store, "copy.json", store.record_path(record.run_id).read_bytes())
    warnings: list[str] = []
    assert len(store.records(warnings.append)) == 1
    assert record.run_id in warnings[0]


def test_a_damaged_attempt_is_quarantined_and_its_number_not_reused(store: Store) -> None:
    for _ in range(3):
        last = store.write(made_failure())
    path = put(store, f".attempts/{last.run_id}.2.json", b"{")
    warnings: list[str] = []
    assert [one.attempt for one in store.attempts(last.run_id, warnings.append)] == [1]
    assert str(path) in warnings[0]
    assert not path.exists()
    assert store.write(made_failure()).attempt == 4


def test_a_record_replaced_while_a_damaged_one_is_read_is_not_quarantined(
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


def test_too_large_a_record_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.write(made_failure())
    before = store.record_path(kept.run_id).read_bytes()
    monkeypatch.setattr(codec, "LARGEST_FILE", len(before) + 100)
    with pytest.raises(RecordTooLarge):
        store.write(made_record())
    assert store.record_path(kept.run_id).read_bytes() == before
    assert store.attempts(kept.run_id) == []


def test_a_new_attempt_keeps_the_earlier_ones_in_order(store: Store) -> None:
    for _ in range(11):
        store.write(made_failure())
    last = store.write(made_record())
    assert last.attempt == 12
    assert [record.status for record in store.records()] == ["ok"]
    earlier = [(record.attempt, record.status) for record in store.attempts(last.run_id)]
    assert earlier == [(number, "crashed") for number in range(1, 12)]


def test_an_interrupted_attempt_does_not_replace_a_successful_one(store: Store) -> None:
    store.write(made_record())
    assert store.write(made_failure(status="interrupted")).attempt == 2
    assert [(record.attempt, record.status) for record in store.records()] == [(1, "ok")]
    assert store.write(made_record()).attempt == 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: b"", "not JSON"),
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: b"\0" * len(text), "not JSON"),
        (lambda text: text.replace(b'"seed":1', b'"seed":2'), "hash does not match"),
    ],
)
def test_a_damaged_record_is_quarantined(store: Store, damage: object, reason: str) -> None:
    good, bad = store.write(made_record(0)), made_record(1)
    path = put(store, f"{bad.run_id}.json", damage(encode(bad)))  # type: ignore[operator]
    warnings: list[str] = []
    assert [record.run_id for record in store.records(warnings.append)] == [good.run_id]
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert reason in warnings[0]
    assert not path.exists()
    assert (path.parent / ".quarantine" / path.name).exists()
    assert store.write(bad).attempt == 1
    assert len(store.records()) == 2


def test_a_full_disk_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, free_mib = os.statvfs, 100

    def scarce(path: Path) -> os.statvfs_result:
        values = list(real(path))
        values[4] = free_mib * 2**20 // values[1]
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", scarce)
    store.check_writable()
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []
    free_mib = 1
    with pytest.raises(StoreError, match="MiB are free"):
        store.check_writable()


def test_read_only_folders_can_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(made_record())
    put(store, "bad.json", b"bad")

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    warnings: list[str] = []
    assert len(store.records(warnings.append)) == 1
    assert "left out" in warnings[0]


def test_paths_of_a_run_are_safe_and_unique(store: Store) -> None:
    one, other = (
        made_run(pipeline="kornia[compiled]"),
        made_run(pipeline="kornia[compiled]", epochs=9),
    )
    path = store.tensorboard_path(one)
    assert path.parent == store.folder / "tensorboard"
    assert path.name.startswith("resnet18-sgd-flip_crop-kornia-compiled-seed0")
    assert path != store.tensorboard_path(other)
    assert store.log_path(one.id).parent.is_dir()
