"""`bench merge`: the result has every record of all folders once, with the best one current."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.check import check
from bench.check.derived import refresh
from bench.cli import app
from bench.errors import UsageError
from bench.record import Record
from bench.store import store
from bench.store.codec import decode, encode, to_json
from bench.store.files import StoreError
from bench.store.locks import held
from bench.store.merge import merge, summary, with_attempt
from bench.store.store import Store
from tests.checkout import ROOT
from tests.made import made_record
from tests.made_groups import (
    GROUP,
    at,
    everything,
    group,
    keep,
    mark,
    marks,
    merge_records,
    name_of,
    place,
    put,
    tried,
)

MEMORY = Path("/dev/shm")
BESIDE = ("predictions", "logs", "profiles")


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return tmp_path / "host a"


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return tmp_path / "host b"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "räksmörgås" / "all"


def merged(*sources: Path, out: Path) -> list[str]:
    """Merges and returns the messages; checks that the sources are unchanged."""
    before = [everything(source) for source in sources]
    lines: list[str] = []
    done = merge(sources, out, lines.append, refresh)
    assert [everything(source) for source in sources] == before
    return [*lines, *summary(done, out).splitlines()]


def bench(*words: object) -> Any:
    return CliRunner().invoke(app.app, [str(word) for word in words])


def test_runs_of_two_hosts_are_merged_with_their_artifacts(a: Path, b: Path, out: Path) -> None:
    first = keep(group(a), at(1, 0), *BESIDE)
    second = keep(group(b), at(2, 1), *BESIDE)
    other = keep(group(b, "h100_cifar10_full"), at(3, 0), "logs")
    lines = merged(a, b, out=out)
    assert lines == [f"{out / GROUP}: 2 runs, 2 new", f"{out / 'h100_cifar10_full'}: 1 run, 1 new"]
    for source, record in ((a, first), (b, second)):
        names = [f"records/{record.run_id}.json", *(name_of(kind, record) for kind in BESIDE)]
        for name in names:
            assert (out / GROUP / name).read_bytes() == (source / GROUP / name).read_bytes()
    assert [one.run_id for one in group(out, "h100_cifar10_full").records()] == [other.run_id]
    table = (out / GROUP / "matrix.csv").read_text()
    assert len(table.splitlines()) == 2, "two seeds of one cell are one row"


def test_the_newest_good_record_wins_others_become_attempts(a: Path, b: Path, out: Path) -> None:
    keep(group(a), at(2), "predictions", "logs")
    keep(group(b), at(3, status="crashed"), "logs")
    keep(group(out), at(1), "predictions", "profiles")
    run_id = at(1).run_id
    lines = merged(a, b, out=out)
    assert lines == [f"{out / GROUP}: 1 run, 1 given a newer record, 2 kept as attempts"]
    record = group(out).read(run_id)
    assert (record.finished[11:13], record.attempt) == ("02", 3)
    assert tried(group(out), run_id) == {1: "01", 2: "03"}
    assert [one.attempt for one in group(out).attempts(run_id)] == [1, 2]
    texts = {name: content.decode() for name, content in everything(out / GROUP).items()
             if name.endswith((".npz", ".log", ".txt"))}  # fmt: skip
    hour, attempts = "2026-01-01T{:02d}:00:00+00:00", "records/.attempts"
    assert texts == {
        f"predictions/{run_id}.npz": "predictions of " + hour.format(2),
        f"logs/{run_id}.log": "logs of " + hour.format(2),
        f"{attempts}/{run_id}.1/predictions/{run_id}.npz": "predictions of " + hour.format(1),
        f"{attempts}/{run_id}.1/profiles/{run_id}.txt": "profiles of " + hour.format(1),
        f"{attempts}/{run_id}.2/logs/{run_id}.log": "logs of " + hour.format(3),
    }
    checked = check(out, dry_run=True, report=lambda line: None)
    assert not [one for one in checked.findings if re.search("matrix|attempts", str(one.path))]
    before = everything(out)
    assert merged(b, a, a, out=out) == [f"{out / GROUP}: 1 run"]
    assert everything(out) == before


def test_missing_files_are_added_by_a_later_merge(a: Path, out: Path) -> None:
    record = keep(group(a), at(1))
    merged(a, out=out)
    put(a / GROUP / name_of("predictions", record), b"later")
    (line,) = merged(a, out=out)
    assert "1 given files that were missing" in line
    assert (out / GROUP / name_of("predictions", record)).read_bytes() == b"later"
    put(a / GROUP / name_of("predictions", record), b"another")
    (line,) = merged(a, out=out)
    assert line == f"{out / GROUP}: 1 run"
    assert (out / GROUP / name_of("predictions", record)).read_bytes() == b"later"


def test_reference_matrices_stay_separate(a: Path, out: Path) -> None:
    keep(group(a), at(1))
    keep(group(a / "reference"), at(2))
    merged(a, out=out)
    assert {one.finished[11:13] for one in group(out).records()} == {"01"}
    assert {one.finished[11:13] for one in group(out / "reference").records()} == {"02"}


def test_a_single_group_as_source_keeps_its_name(a: Path, out: Path) -> None:
    keep(group(a), at(1))
    assert merged(a / GROUP, out=out) == [f"{out / GROUP}: 1 run, 1 new"]


def test_examples_and_loaders_are_merged_without_overwriting(a: Path, b: Path, out: Path) -> None:
    reference = ROOT / "results" / "reference"
    real = next(reference.glob("*_cifar10_cpu"))
    png = b"\x89PNG\r\n\x1a\n" + b"%s" + b"IEND\xaeB`\x82"
    for folder in (a, b):
        keep(group(folder), at(1))
        put(folder / GROUP / "examples" / "flip__native.png", png % bytes(folder))
        for path in real.glob("loaders.*"):
            put(folder / GROUP / path.name, path.read_bytes())
    put(b / GROUP / "examples" / "cut.png", png[:9])
    put(b / GROUP / "loaders.json", (real / "loaders.json").read_bytes() + b"\n")
    lines = merged(a, b, out=out)
    assert (out / GROUP / "examples" / "flip__native.png").read_bytes() == png % bytes(a)
    for path in real.glob("loaders.*"):
        assert (out / GROUP / path.name).read_bytes() == path.read_bytes()
    assert lines[:2] == [
        f"{b / GROUP / 'examples' / 'cut.png'} is not a whole picture and left out",
        f"{b / GROUP / 'loaders.json'} is not merged: {out / GROUP / 'loaders.json'} holds "
        "another measurement",
    ]


@pytest.mark.parametrize("earlier", [False, True])
def test_a_damaged_source_record_is_told_and_left_out(a: Path, out: Path, earlier: bool) -> None:
    good = keep(group(a), at(1, 0))
    name = ".attempts/{}.1.json" if earlier else "{}.json"
    path = put(a / GROUP / "records" / name.format(at(2, 1).run_id), encode(at(2, 1))[:-9])
    done = bench("merge", a, "--out", out)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{path} is damaged and left out: not JSON")
    assert [one.run_id for one in group(out).records()] == [good.run_id]
    path.unlink()
    assert bench("merge", a, "--out", out).exit_code == 0


def test_a_damaged_target_record_is_quarantined(a: Path, out: Path) -> None:
    good = keep(group(a), at(1))
    put(out / GROUP / "records" / f"{good.run_id}.json", b"{")
    lines = merged(a, out=out)
    assert ".quarantine" in lines[0]
    assert group(out).read(good.run_id) is not None
    assert (out / GROUP / "records" / ".quarantine" / f"{good.run_id}.json").read_bytes() == b"{"


def test_links_among_artifacts_are_not_followed(a: Path, out: Path, tmp_path: Path) -> None:
    """Folders from others may link to foreign files."""
    record = keep(group(a), at(1))
    secret = put(tmp_path / "secret", b"mine")
    log = a / GROUP / name_of("logs", record)
    log.parent.mkdir()
    log.symlink_to(secret)
    merged(a, out=out)
    assert b"mine" not in everything(out).values()


def test_a_folder_being_written_is_merged_with_its_current_records(a: Path, out: Path) -> None:
    keep(group(a), at(1, 0))
    with group(a).lock():
        lines = merged(a, out=out)
        keep(group(a), at(1, 1))
    assert f"{a / GROUP} is being written (pid " in lines[0]
    assert "merge again when that has ended" in lines[0]
    assert lines[1] == f"{out / GROUP}: 1 run, 1 new"
    assert merged(a, out=out) == [f"{out / GROUP}: 2 runs, 1 new"]


@pytest.mark.parametrize("busy", ["a merge", "a run"])
def test_a_folder_in_use_is_refused_before_any_merge(a: Path, out: Path, busy: str) -> None:
    keep(group(a), at(1))
    keep(group(out), at(2))
    before = everything(out)
    lock = held(out / ".merge.lock", notice=print) if busy == "a merge" else group(out).lock()
    with lock:
        done = bench("merge", a, "--out", out)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "is in use: already running (pid " in line
    assert line.endswith("Nothing was merged: merge when that has ended")
    assert everything(out) == before


@pytest.mark.parametrize(
    ("sources", "target", "error"),
    [
        (["all"], "all", "all cannot be merged into itself: name another --out"),
        (["all"], "all/new", "--out all/new lies inside of the source all: name another one"),
        (["all/host"], "all", "the source all/host lies inside of --out all"),
        (["link"], "all", "link cannot be merged into itself"),
        (["all"], "group", "group is one group: name the results folder"),
        (["all", "gone"], "new", "there is no results folder gone"),
        (["all", "empty"], "new", "there are no results under empty"),
        (["all"], "file", "cannot make the folder file: File exists"),
    ],
)
def test_invalid_sources_are_refused_in_one_sentence_without_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: Sequence[str], target: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    keep(group(Path("all")), at(1))
    keep(group(Path("all/host")), at(2))
    keep(Store(Path("group")), at(2))
    Path("empty").mkdir()
    Path("file").write_text("x")
    Path("link").symlink_to("all")
    before = everything(tmp_path)
    done = bench("merge", *sources, "--out", target)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bench: {error}")
    assert everything(tmp_path) == before
    assert not Path("new").exists()


def test_a_source_group_that_links_to_the_target_is_refused(a: Path, out: Path) -> None:
    keep(group(out), at(1))
    a.mkdir()
    (a / GROUP).symlink_to(out / GROUP)
    with pytest.raises(UsageError, match="is itself the group to merge into"):
        merge([a], out, print, refresh)


def test_groups_of_one_name_with_other_sources_are_not_mixed(a: Path, b: Path, out: Path) -> None:
    """Only renamed groups are affected: the suite's own names contain source and scale."""
    keep(group(a), at(1))
    keep(group(b), replace(made_record(source="cifar10", scale="full"), finished=at(1).finished))
    with pytest.raises(UsageError, match="would mix cifar10 at full scale and shapes at cpu"):
        merge([a, b], out, print, refresh)
    assert not out.exists()
    merge([a], out, print, refresh)
    with pytest.raises(UsageError, match="would mix cifar10 at full scale and shapes"):
        merge([b], out, print, refresh)


def test_merging_needs_room_on_disk(a: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "NEEDED_MIB", 2**40)
    keep(group(a), at(1))
    with pytest.raises(StoreError, match="MiB are free for"):
        merge([a], out, print, refresh)
    assert everything(out) == {}


def test_a_record_keeps_unknown_fields() -> None:
    """A new attempt number keeps the fields of a later version with the same schema."""
    content = to_json(msgspec.json.decode(encode(made_record())) | {"later": {"x": 1.5}})
    changed = with_attempt(content, 7)
    assert decode(changed).attempt == 7
    assert msgspec.json.decode(changed)["later"] == {"x": 1.5}
    assert with_attempt(changed, 1) == content
    assert with_attempt(content, 1) is content


# Records of one run that may be anywhere: the hour of its end, its status, its number.
TRIES = st.builds(
    lambda hour, status, attempt: at(hour, status=status, attempt=attempt),
    st.integers(1, 4),
    st.sampled_from(["ok", "ok", "crashed", "interrupted", "skipped"]),
    st.integers(1, 3),
)


@st.composite
def folders(draw: st.DrawFn) -> list[Record]:
    """Records of a run in one folder, numbered as by the suite; the last one is current."""
    unlike = (lambda one: one.attempt, lambda one: (one.finished, one.status))
    found = draw(st.lists(TRIES, min_size=1, max_size=3, unique_by=unlike))
    found.sort(key=lambda one: one.attempt)
    return [one for one in found[:-1] if one.status != "skipped"] + [found[-1]]


def laid(records: Sequence[Record], root: Path) -> Store:
    store = group(root)
    for record in records:
        place(store, record, earlier=record is not records[-1])
    return store


def rank(record: Record, *, present: bool) -> tuple[int, str]:
    """Sort key of the best record, as documented."""
    worth = 3 if record.status == "ok" else 0
    if present and worth == 0:
        worth = 1 if record.status == "skipped" else 2
    return worth, record.finished


@pytest.mark.slow
@settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(sources=st.lists(folders(), min_size=1, max_size=3), before=st.none() | folders())
def test_every_record_is_kept_once_and_the_best_is_current(
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
            merge_records(paths, out)
            assert not round_ or everything(out) == seen
        if before is None:  # in whatever order
            merge_records(list(reversed(paths)), root / "again")
            assert everything(root / "again") == everything(out)
        for path in paths:  # one after the other
            merge_records([path], root / "single")
        wanted = {
            mark(encode(one)) for of_one in every for one in of_one if one.status != "skipped"
        }
        best = max(rank(one, present=one is of_one[-1]) for of_one in every for one in of_one)
        store = group(out)
        record = store.read(at(1).run_id, pytest.fail)
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
