"""The same images are one source, wherever their folder is and however it is spelled."""

import shutil
from itertools import permutations
from pathlib import Path

import pytest

from bench.cell import Run, distinct_conditions, without_place
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.grid.plan import Plan
from bench.record import Record
from bench.report.rows import grouped
from bench.store.store import Store
from tests.made import made_cell, record_of
from tests.made_device import NO_GPU
from tests.made_sources import write_images


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One tree of two classes of 120 images, in the current folder."""
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))
    monkeypatch.chdir(tmp_path)
    return write_images(tmp_path / "pets", {"cat": 120, "dog": 120})


def plan_of(source: str, out: Path) -> Plan:
    options = RunOptions(grid="smoke", source=source, select="native", out=out)
    return planning.make(options, print, NO_GPU)


def test_a_folder_is_not_trained_again_under_another_spelling(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = plan_of("folder:pets", out)
    (run,) = first.todo
    assert run.cell.source == "folder:pets[test=20%]"
    assert any("held back" in notice for notice in first.notices)
    Store(first.folder).write(record_of(run))
    Path("link").symlink_to(tree)
    for source in (f"folder:{tree}", "folder:link", "folder:./pets", f"folder:{tree}[skip-bad]"):
        again = plan_of(source, out)
        assert (again.folder, again.todo, len(again.done)) == (first.folder, [], 1), source
    monkeypatch.chdir(tree)
    assert plan_of("folder:.", out).todo == []
    shutil.rmtree(tree / "cat")
    shutil.copytree(tree / "dog", tree / "cow")
    assert len(plan_of("folder:.", out).todo) == 1


def test_runs_on_the_same_images_share_a_row_and_count_once() -> None:
    def record(source: str, seed: int, finished: str, fingerprint: str = "f00d") -> Record:
        run = Run(cell=made_cell(source=source), seed=seed, fingerprint=fingerprint)
        return record_of(run, finished=finished)

    records = [
        record("folder:a", 0, "2026-01-01"),
        record("folder:a", 1, "2026-01-01"),
        record("folder:/data/a", 0, "2026-01-02"),
        record("npz:a.npz[test=20%]", 2, "2026-01-02"),
    ]
    ((key, runs),) = grouped(records).items()
    assert key.cell.source == "folder:a"
    assert [(run.cell.source, run.seed) for run in runs] == [
        ("folder:a", 1), ("folder:/data/a", 0), ("npz:a.npz[test=20%]", 2)
    ]  # fmt: skip
    others = [record("folder:a[decode]", 0, "2026"), record("folder:b", 0, "2026", "beef")]
    assert len(grouped([*records, *others])) == 3


@pytest.mark.parametrize(
    ("source", "rest"),
    [
        ("cifar10", "cifar10"),
        ("folder:/a/b", "files"),
        ("folder:a[size=64,test=val]", "files"),
        ("folder:a[size=64,decode]", "files[decode]"),
        ("folder:a[decode,skip-bad=3]", "files[decode]"),
        ("folder:a[decode]/b", "files"),
        ("npz:a.npz", "files"),
    ],
)
def test_a_source_without_its_place(source: str, rest: str) -> None:
    assert without_place(source) == rest


def test_a_group_may_hold_the_same_images_under_other_names_and_nothing_else() -> None:
    same = [("folder:/a", "f1", "cpu"), ("folder:a", "f1", "cpu"), ("folder:/a", "f2", "cpu")]
    for kinds in permutations(same):
        assert distinct_conditions(kinds) == ["folder:/a at cpu scale"]
    others = [("folder:b", "f3", "cpu"), ("folder:a", "f1", "full")]
    assert distinct_conditions([*same, *others]) == [
        "folder:/a at cpu scale", "folder:a at full scale", "folder:b at cpu scale"
    ]  # fmt: skip
