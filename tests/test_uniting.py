"""The records of one run from several folders: each is there once, and the best in front."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.record import Record
from bench.record_text import as_text, decode, digest, encode
from bench.store import Store
from bench.uniting import found_in, numbered, unite
from tests.made import made_record
from tests.made_travel import GROUP, at, everything, group, mark, marks, place, tried

MEMORY = Path("/dev/shm")


def test_a_record_keeps_what_this_version_does_not_know() -> None:
    """A number that is given anew costs no field of a later version with the same schema."""
    plain = msgspec.json.decode(encode(made_record())) | {"later": {"x": 1.5}, "content_hash": ""}
    content = as_text(plain | {"content_hash": digest(plain)})
    changed = numbered(content, 7)
    assert decode(changed).attempt == 7
    assert msgspec.json.decode(changed)["later"] == {"x": 1.5}
    assert numbered(changed, 1) == content
    assert numbered(content, 1) is content


# Records of one run that may be anywhere: the hour of its end, its status, its number.
TRIES = st.builds(
    lambda hour, status, attempt: at(hour, status=status, attempt=attempt),
    st.integers(1, 4),
    st.sampled_from(["ok", "ok", "crashed", "interrupted", "skipped"]),
    st.integers(1, 3),
)


@st.composite
def folders(draw: st.DrawFn) -> list[Record]:
    """Records of a run in one folder, numbered as the suite does; the last is the present one."""
    unlike = (lambda one: one.attempt, lambda one: (one.finished, one.status))
    found = draw(st.lists(TRIES, min_size=1, max_size=3, unique_by=unlike))
    found.sort(key=lambda one: one.attempt)
    return [one for one in found[:-1] if one.status != "skipped"] + [found[-1]]


def laid(records: Sequence[Record], root: Path) -> Store:
    store = group(root)
    for record in records:
        place(store, record, earlier=record is not records[-1])
    return store


def brought(sources: Sequence[Path], out: Path) -> None:
    run_id = at(1).run_id
    incoming = [
        one
        for source in sources
        for one in found_in(source / GROUP, run_id, lambda path, why: pytest.fail(why))
    ]
    store = group(out)
    (store.folder / "records").mkdir(parents=True, exist_ok=True)
    unite(store.folder, incoming, lambda said: pytest.fail(said))


def rank(record: Record, *, present: bool) -> tuple[int, str]:
    """What makes a record its run's, as the documentation says it."""
    worth = 3 if record.status == "ok" else 0
    if present and worth == 0:
        worth = 1 if record.status == "skipped" else 2
    return worth, record.finished


@settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(sources=st.lists(folders(), min_size=1, max_size=3), before=st.none() | folders())
def test_whatever_was_anywhere_is_there_once_and_the_best_is_the_record(
    sources: list[list[Record]], before: list[Record] | None
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        root = Path(name)
        every = [*([before] if before else []), *sources]
        paths = [root / f"source{number}" for number in range(len(sources))]
        for records, path in zip(sources, paths, strict=True):
            laid(records, path)
        out = root / "out"
        if before:
            laid(before, out)
        for round_ in range(2):  # the second changes nothing
            seen = everything(out) if round_ else {}
            brought(paths, out)
            assert not round_ or everything(out) == seen
        if before is None:  # in whatever order
            brought(list(reversed(paths)), root / "again")
            assert everything(root / "again") == everything(out)
        for path in paths:  # one after the other
            brought([path], root / "single")
        wanted = {
            mark(encode(one)) for of_one in every for one in of_one if one.status != "skipped"
        }
        best = max(rank(one, present=one is of_one[-1]) for of_one in every for one in of_one)
        store = group(out)
        record = store.read(at(1).run_id, pytest.fail)
        assert record is not None
        assert rank(record, present=True)[1] == best[1]
        assert (record.status == "ok") is (best[0] == 3)
        there = [mark(path.read_bytes()) for path in (out / GROUP / "records").rglob("*.json")]
        assert len(there) == len(set(there))
        assert set(there) == wanted | (
            {mark(encode(record))} if record.status == "skipped" else set()
        )
        assert all(number < record.attempt for number in tried(store, record.run_id))
        if before is None:
            assert marks(root / "single") == marks(out)
        shutil.rmtree(root / "out")
