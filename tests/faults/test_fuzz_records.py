"""Damaged and made-up records are refused in one sentence, or shown as they are."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import pytest

from bench.check import check
from bench.record import Record
from bench.report.conclusions import conclude
from bench.report.page.contents import Content
from bench.report.page.page import render as page
from bench.report.show import find_run
from bench.report.show import render as show
from bench.report.table import render_all
from bench.store.codec import LARGEST_FILE, RecordError, decode, digest, encode
from bench.store.groups import Group
from bench.store.store import Store
from bench.text import printable
from tests.faults.fuzzing import GIB, TIMES, run_isolated
from tests.faults.mutations import changed_bytes, with_double, with_token, with_values
from tests.made import made_failure, made_record
from tests.made_sound import sound_record

GOOD = [encode(record) for record in (sound_record(), made_failure(), made_record(3))]
TEMP = Path(tempfile.gettempdir())


def hashed(plain: object) -> bytes:
    if not isinstance(plain, dict):
        return json.dumps(plain).encode()
    try:
        plain["content_hash"] = digest(plain)
    except (ValueError, OverflowError, RecursionError):
        plain["content_hash"] = ""
    return json.dumps(plain).encode()


def bad_records(random: Random, count: int) -> list[bytes]:
    changes: tuple[Callable[[bytes], bytes], ...] = (
        lambda text: changed_bytes(random, text),
        lambda text: with_token(random, json.loads(text)),
        lambda text: with_double(random, text),
        lambda text: hashed(with_values(random, json.loads(text))),
    )
    return [changes[number % 4](random.choice(GOOD)) for number in range(count)]


def accepted(text: bytes) -> Record | None:
    try:
        return decode(text)
    except RecordError as error:
        reason = str(error)
    assert len(reason) < 500
    return None


def test_damaged_and_made_up_records_are_refused_in_one_sentence() -> None:
    def work() -> None:
        kept = [accepted(text) for text in bad_records(Random(1), 7000 * TIMES)]
        assert sum(record is None for record in kept) > 5500 * TIMES

    run_isolated(work)


def accepted_records(seed: int, count: int) -> dict[str, Record]:
    """Changed records that are accepted, by content hash."""
    random = Random(seed)
    found: dict[str, Record] = {}
    while len(found) < count:
        record = accepted(hashed(with_values(random, json.loads(random.choice(GOOD)))))
        if record is not None and record.content_hash:
            found[record.content_hash] = record
    return found


def group_of(folder: Path, records: Iterable[Record]) -> Store:
    """A group of these records, each under its own run id."""
    store = Store(folder)
    (folder / "records").mkdir(parents=True)
    for number, record in enumerate(records):
        if printable(record.run_id) == record.run_id and "/" not in record.run_id:
            plain = json.loads(encode(record)) | {"run_id": f"{number:016x}"}
            (folder / "records" / f"{number:016x}.json").write_bytes(hashed(plain))
    return store


def test_accepted_records_can_be_shown_in_every_form(tmp_path: Path) -> None:
    def work() -> None:
        for number in range(4 * TIMES):
            folder = tmp_path / str(number) / "a_b_c"
            records = group_of(folder, accepted_records(number, 30).values()).records(pytest.fail)
            assert len(records) > 20
            for form in ("rich", "md", "csv", "json"):
                assert "\x1b" not in render_all(folder, form)
            conclude(records)
            page([Content(group=Group(folder=folder), records=records)])
            for record in records[:10]:
                show(find_run(folder, record.run_id), width=80, color=False)
            check(folder, dry_run=True, report=pytest.fail)

    run_isolated(work, writes=[tmp_path, TEMP])


def test_a_folder_of_strange_files_can_be_read(tmp_path: Path) -> None:
    random = Random(4)
    store = Store(tmp_path / "results" / "a_b_c")
    kept = store.write(sound_record())
    records = store.folder / "records"
    (records / "folder.json").mkdir()
    (records / "loop.json").symlink_to("loop.json")
    (records / "out.json").symlink_to("/dev/zero")
    (records / "passwd.json").symlink_to("/etc/passwd")
    for number, text in enumerate(bad_records(random, 60)):
        (records / f"{number:016x}.json").write_bytes(text)
    (records / ("x" * 200 + ".json")).write_bytes(b"{}")
    (records / "new\nline\x1b[2J.json").write_bytes(b"{}")
    (records / "caf\udce9.json").write_bytes(b"{}")
    with (records / "huge.json").open("wb") as file:
        file.truncate(300 * 2**30)
    os.mkfifo(records / "pipe.json")

    def work() -> None:
        messages: list[str] = []
        assert [record.run_id for record in store.records(messages.append)] == [kept.run_id]
        assert len(messages) > 60
        assert any("huge.json" in line and "bytes are more than" in line for line in messages)
        assert [record.run_id for record in store.records(pytest.fail)] == [kept.run_id]
        check(store.folder, dry_run=False, report=messages.append)
        assert "resnet18" in render_all(tmp_path / "results", "md")

    run_isolated(work, writes=[tmp_path, TEMP], more_memory=2**29)


@pytest.mark.slow
def test_a_deeply_nested_file_stays_within_memory() -> None:
    nested = b'{"a":[' + b"[]," * (LARGEST_FILE // 24) + b"[]]}"  # an eighth of the largest

    def work() -> None:
        assert accepted(nested) is None

    run_isolated(work, more_memory=2 * GIB // 8)
