"""`bench check`: finds problems in a results folder, rebuilds derived files, loses nothing."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from bench.check import CheckResult, check, render
from bench.check.consistency import problems
from bench.check.files import Finding
from bench.cli import app
from bench.record import Record
from bench.report import loaders as loaders_report
from bench.report.page.writing import write_report
from bench.report.table import write_matrix
from bench.store.codec import decode, encode
from bench.store.loaders_record import read_loaders
from bench.store.locks import held, last_holder
from bench.store.store import Store
from bench.tensorboard.overview import write_overview
from bench.tensorboard.run_log import write_run
from tests.checkout import ROOT
from tests.made import made_failure
from tests.made_groups import everything
from tests.made_loaders import MIXED
from tests.made_sound import LABELS, PREDICTIONS, keep, sound_record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two seeds of one cell, and their table."""
    store = Store(tmp_path / "results" / "epyc_shapes_cpu")
    for seed in (0, 1):
        keep(store, sound_record(seed))
    write_matrix(store, store.records(pytest.fail))
    return store


def run_check(store: Store, *, dry_run: bool = False) -> CheckResult:
    return check(store.folder.parent, dry_run=dry_run, report=lambda line: None)


def lines_of(checked: CheckResult, *levels: str) -> list[str]:
    return [str(one) for one in checked.findings if one.level in levels or not levels]


def first(store: Store) -> Path:
    return sorted((store.folder / "records").glob("*.json"))[0]


def test_a_valid_folder_has_no_findings_and_is_unchanged(store: Store) -> None:
    before = everything(store.folder)
    checked = run_check(store)
    assert (lines_of(checked), checked.exit_code) == ([], 0)
    assert (checked.groups, checked.records) == (1, 2)
    assert everything(store.folder) == before
    assert render(checked, "rich") == "2 records in 1 group: all is well\n"


Change = Callable[[Record], Record]


def changed(part: str, **values: Any) -> Change:
    return lambda record: replace(record, **{part: replace(getattr(record, part), **values)})


def changed_class(**scores: Any) -> Change:
    def change(record: Record) -> Record:
        cat, dog = record.metrics.per_class
        return changed("metrics", per_class=(replace(cat, **scores), dog))(record)

    return change


def changed_point(place: int, **figures: Any) -> Change:
    def change(record: Record) -> Record:
        points = list(record.curve)
        points[place] = replace(points[place], **figures)
        return replace(record, curve=tuple(points))

    return change


LIES: list[tuple[Change, str]] = [
    (lambda record: replace(record, seed=7), "are those of run"),
    (lambda record: replace(record, metrics=None), "ended ok without scores"),
    (lambda record: replace(record, throughput=None), "ended ok without throughput"),
    (lambda record: replace(record, error=made_failure().error), "ended ok with an error"),
    (lambda record: replace(record, curve=record.curve[:2]), "ok after 2 of 4 epochs"),
    (lambda record: replace(record, status="oom"), "ended oom without a reason"),
    (lambda record: replace(record, started="yesterday"), "started is not a time"),
    (lambda record: replace(record, curve=record.curve[::-1]), "do not count up from 1"),
    (lambda record: replace(record, curve=record.curve * 2), "8 epochs, its cell 4"),
    (changed_point(1, images=1000), "images of its curve do not increase"),
    (changed_point(1, train_s=0.5), "training clock of its curve goes back"),
    (changed_point(2, validation_accuracy=0.1), "its target was reached after 3 s, by its curve"),
    (changed("timings", train_s=9.0), "training took 9 s, the whole run 6 s"),
    (changed("timings", fit_s=5.0), "fitting on data took 5 s of 4 s"),
    (changed("timings", train_s=3.5), "its curve ends at 4 s, its training clock at 3.5 s"),
    (changed("throughput", p95=950.0), "lies outside its percentiles"),
    (changed("throughput", ceiling=None), "only one of ceiling and stall"),
    (changed("throughput", stall_pct=12.0), "its stall is 12 %, by its throughput 50 %"),
    (changed("metrics", accuracy=0.86), "accuracy is 0.86, by its confusion matrix 0.85"),
    (changed("metrics", macro_f1=0.86), "macro_f1 is 0.86"),
    (changed("metrics", recall=0.86), "recall is 0.86"),
    (changed("metrics", confusion=((40, 10), (6, 45))), "in the confusion matrix 51"),
    (changed("metrics", time_to_accuracy_s=None), "was not reached, by its curve reached"),
    (changed("metrics", time_to_accuracy_with_compile_s=2.0), "with compilation sooner"),
    (changed_class(f1=0.5), "the f1 of class 'cat' is 0.5"),
    (changed_class(recall=0.5), "the recall of class 'cat' is 0.5"),
    (changed_class(support=40), "'cat' has 40 images, in the confusion matrix 50"),
    (lambda record: replace(record, cell=replace(record.cell, test_images=99)), "100 images of 99"),
]


@pytest.mark.parametrize(("change", "problem"), LIES, ids=[problem for _, problem in LIES])
def test_an_inconsistent_value_is_reported(change: Change, problem: str) -> None:
    record = sound_record()
    assert list(problems(record)) == []
    assert any(problem in text for text in problems(change(record)))


def test_an_inconsistent_record_is_reported_and_kept(store: Store) -> None:
    path = first(store)
    lie = encode(changed("metrics", accuracy=0.99)(decode(path.read_bytes())))
    path.write_bytes(lie)
    checked = run_check(store)
    (wrong,) = lines_of(checked, "wrong")
    assert f"{path}: accuracy is 0.99, by its confusion matrix 0.85; its values" in wrong
    assert checked.exit_code == 1
    assert path.read_bytes() == lie


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 99])
def test_a_damaged_record_is_quarantined_except_by_a_dry_run(store: Store, content: bytes) -> None:
    path = first(store)
    path.write_bytes(content)
    before = everything(store.folder)
    dry = run_check(store, dry_run=True)
    assert everything(store.folder) == before
    assert f"{path}: not JSON" in lines_of(dry, "wrong")[0]
    assert dry.exit_code == 1
    wet = run_check(store)
    (wrong,) = lines_of(wet, "wrong")
    assert (wet.exit_code, path.exists()) == (1, False)
    assert ".quarantine" in wrong
    assert (path.parent / ".quarantine" / path.name).read_bytes() == content
    again = run_check(store)
    assert (again.exit_code, lines_of(again, "wrong", "stale")) == (0, [])
    assert any("was set aside as damaged; run the grid again" in note for note in lines_of(again))


def test_a_newer_record_is_reported_and_nothing_is_rebuilt(store: Store) -> None:
    path = first(store)
    newer = path.read_bytes().replace(b'"schema_version":1', b'"schema_version":99')
    path.write_bytes(newer)
    before = everything(store.folder)
    checked = run_check(store)
    assert checked.exit_code == 1
    assert "written with schema 99" in lines_of(checked, "wrong")[0]
    assert "could not be rebuilt" in lines_of(checked, "stale")[0]
    after = everything(store.folder)
    assert after.items() >= before.items()


def test_derived_files_are_rebuilt(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.page.contents.draw", lambda *_, **__: [])  # takes long
    records = store.records(pytest.fail)
    for record in records:
        write_run(store.tensorboard_path(record.run), record, None, on_error=pytest.fail)
    write_overview(store, records, on_error=pytest.fail)
    write_report(store.folder, lambda line: None)
    wanted = everything(store.folder)
    assert lines_of(run_check(store)) == []
    third = keep(store, sound_record(2))
    (store.folder / "matrix.csv").unlink()
    (events,) = store.tensorboard_path(records[0].run).iterdir()
    events.unlink()
    dry = run_check(store, dry_run=True)
    names = {one.path.name for one in dry.findings if one.level == "stale"}
    assert names >= {"matrix.csv", "matrix.md", "report.html", events.parent.name}
    assert store.tensorboard_path(third.run).name in names
    wet = run_check(store)
    assert (wet.exit_code, lines_of(wet, "wrong", "stale")) == (0, [])
    assert {one.path.name for one in wet.findings if one.level == "fixed"} == names
    assert lines_of(run_check(store)) == []
    store.record_path(third.run_id).unlink()
    assert run_check(store).exit_code == 0
    after = everything(store.folder)
    for name in ("matrix.csv", "matrix.md", "report.html"):
        assert after[name] == wanted[name]


def test_leftovers_of_a_dead_process_are_removed(store: Store) -> None:
    records, run_id = store.folder / "records", first(store).stem
    with held(store.folder / ".lock", notice=pytest.fail):
        me = last_holder(store.folder / ".lock")
    gone = msgspec.json.encode(replace(me, created=0.0, since="then"))
    (store.folder / ".lock.holder").write_bytes(gone)
    (records / f"{run_id}.json.1-0123abcd.tmp").write_bytes(b"half")
    (store.folder / "notes.tmp").write_text("somebody's own")
    dry = run_check(store, dry_run=True)
    assert sorted(one.path.suffix for one in dry.findings) == ["", ".tmp"]
    left = f"left locked by pid {os.getpid()} on {me.host}, since then, which has ended"
    assert left in lines_of(dry)[0]
    assert dry.exit_code == 1
    wet = run_check(store)
    assert ([one.level for one in wet.findings], wet.exit_code) == (["fixed"] * 2, 0)
    assert lines_of(run_check(store)) == []
    assert (store.folder / "notes.tmp").exists()


def test_a_folder_in_use_is_checked_but_not_changed(store: Store) -> None:
    (store.folder / "matrix.csv").unlink()
    half = store.folder / "records" / "x.json.1-0123abcd.tmp"
    half.write_bytes(b"half")
    with held(store.folder / ".lock", notice=pytest.fail):
        before = everything(store.folder)
        checked = run_check(store)
        assert everything(store.folder) == before
        assert half.exists()
    (note,) = lines_of(checked)
    assert f"is in use: already running (pid {os.getpid()} on" in note
    assert checked.exit_code == 0


def test_a_folder_that_another_host_may_use_is_not_changed(store: Store) -> None:
    (store.folder / "matrix.csv").unlink()
    with held(store.folder / ".lock", notice=pytest.fail):
        holder = last_holder(store.folder / ".lock")
    assert holder is not None
    note = store.folder / ".lock.holder"
    note.write_bytes(msgspec.json.encode(replace(holder, host="elsewhere")))
    (line,) = lines_of(run_check(store))
    assert f"already running (pid {os.getpid()} on elsewhere" in line
    assert line.endswith(f"; if it has ended, delete {note}")
    note.unlink()
    assert [one.level for one in run_check(store).findings] == ["fixed"]


def test_bad_attempts_predictions_and_foreign_files_are_reported(store: Store) -> None:
    failed = store.write(made_failure(5))
    store.write(replace(sound_record(5), run_id=failed.run_id))
    attempts = store.folder / "records" / ".attempts"
    (attempts / f"{failed.run_id}.1.json").rename(attempts / f"{failed.run_id}.8.json")
    (attempts / "0123456789abcdef.1.json").write_bytes(b"{}")
    (store.folder / "records" / "notes.txt").write_text("mine")
    (store.folder / "examples").mkdir()
    (store.folder / "examples" / "x__y.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    store.save_predictions("0123456789abcdef", LABELS, PREDICTIONS)
    other, cut = [path.stem for path in sorted((store.folder / "predictions").glob("*.npz"))][1:3]
    store.save_predictions(other, LABELS, PREDICTIONS[::-1])
    (store.folder / "predictions" / f"{cut}.npz").write_bytes(b"PK\3\4")
    write_matrix(store, store.records(pytest.fail))
    lines = lines_of(run_check(store))
    for problem in (
        f"{failed.run_id}.8.json: it holds attempt 1 of run {failed.run_id}",
        "0123456789abcdef.1.json: not a record: no schema_version",
        "notes.txt: not a file of the suite",
        "x__y.png: is not a whole PNG picture",
        "0123456789abcdef.npz: no record has scores from it",
        f"{other}.npz: it does not give the confusion matrix of its record",
        f"{cut}.npz: cannot be read: File is not a zip file",
        f"{failed.run_id}.npz: predictions were not kept",
    ):
        assert any(problem in line for line in lines), (problem, lines)


def test_records_of_two_sources_in_one_group_are_reported(store: Store) -> None:
    keep(store, sound_record(0, source="cifar10"))
    (wrong,) = lines_of(run_check(store), "wrong")
    assert "it mixes records of cifar10 at cpu scale, shapes at cpu scale" in wrong


def test_loaders_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "epyc_shapes_cpu"
    folder.mkdir()
    (folder / "loaders.json").write_text(loaders_report.render(MIXED, "json"))
    record = read_loaders(folder)
    assert record is not None
    loaders_report.write_tables(Store(folder), record)
    store = Store(folder)
    assert lines_of(run_check(store)) == []
    (folder / "loaders.csv").write_text("1,2\n")
    assert [one.level for one in run_check(store).findings] == ["fixed"]
    assert (folder / "loaders.csv").read_text() == loaders_report.render(record, "csv")
    (folder / "loaders.json").write_text("[" * 5000)
    (wrong,) = lines_of(run_check(store))
    assert "loaders.json: is not a record of `bench loaders`" in wrong


def test_identical_findings_are_counted_and_escaped() -> None:
    findings = [
        Finding(level="note", path=Path(f"a/{number}\x1b[2J\n"), problem="is odd")
        for number in range(9)
    ]
    checked = CheckResult(groups=1, records=0, findings=tuple(findings))
    lines = render(checked, "rich").splitlines()
    assert lines[3:] == ["note   and 6 more like it", "0 records in 1 group: 9 worth knowing"]
    assert lines[0] == "note   a/0\\x1b[2J : is odd"
    assert len(json.loads(render(checked, "json"))["findings"]) == 9


def test_the_exit_code_depends_on_the_findings(store: Store) -> None:
    def bench(*arguments: str) -> Any:
        return CliRunner().invoke(app.app, ["check", *arguments])

    done = bench(str(store.folder), "--format", "json")
    assert (done.exit_code, json.loads(done.stdout)["records"]) == (0, 2)
    first(store).write_bytes(b"")
    assert bench(str(store.folder), "--dry-run").exit_code == 1
    for wrong in (["nowhere"], [str(store.folder), "--format", "xml"], [str(ROOT / "docs")]):
        done = bench(*wrong)
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


def test_the_reference_records_are_valid() -> None:
    """Its derived files may be out of date."""
    reference = ROOT / "results" / "reference"
    checked = check(reference, dry_run=True, report=lambda line: None)
    assert checked.records >= 67
    assert lines_of(checked, "wrong") == [], "restore them: git checkout results/reference"
