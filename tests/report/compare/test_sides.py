"""The sides of a comparison: how they are spelled, what they hold, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.record import Record
from bench.report.compare.sides import Asked, Filed, Side, conditions, read_sides
from bench.store.codec import encode
from bench.store.files import StoreError
from bench.store.store import Store
from tests.made import ENVIRONMENT, made_record


def filed(**environment: Any) -> Filed:
    started = environment.pop("started", "2026-11-25T10:30:00+00:00")
    record = made_record(record={"environment": ENVIRONMENT | environment, "started": started})
    return Filed(record=record, machine="amd-epyc-2-cores")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("commit=abcd", True),
        ("commit=abcd12", True),
        ("commit=bcd1", False),
        ("torch=2.14", True),
        ("torch=2.14.1", True),
        ("torch=2.14.1+cu130", True),
        ("torch=2.1", False),
        ("torch=2.14.10", False),
        ("machine=epyc", True),
        ("machine=amd-epyc-2-cores", True),
        ("machine=H100", True),
        ("machine=h200", False),
        ("date=2026-11-25", True),
        ("date=2026-11", True),
        ("date=2026-11-25T10", True),
        ("date=2026-11-25T11", False),
        ("date=2026-11-24..2026-11-25", True),
        ("date=2026-11-26..", False),
        ("date=..2026-11-24", False),
        ("date=..2026-11-25", True),
        ("date=2026-11-25T10:29..2026-11-25T10:31", True),
        ("commit=abcd,torch=2.14", True),
        ("commit=abcd, torch=2.11", False),
    ],
)
def test_conditions_keep_what_they_say(text: str, kept: bool) -> None:
    one = filed(commit="abcd1234" * 5, torch="2.14.1+cu130", gpu="NVIDIA H100 80GB HBM3")
    *others, last = conditions("results@", text)
    for condition in others:
        assert condition.keep([one]) == [one]
    if kept:
        assert last.keep([one]) == [one]
    else:
        with pytest.raises(UsageError, match=r"no record has .*: there are"):
            last.keep([one])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("native", "is malformed at 'native'"),
        ("commit=", "is malformed at 'commit='"),
        ("commit=abcd,,torch=2", "is malformed at ''"),
        ("comit=abcd", "unknown condition 'comit': did you mean commit"),
        ("commit=xyz1", "a commit is its first 4 to 40 digits"),
        ("commit=abc", "a commit is its first 4 to 40 digits"),
        ("date=yesterday", "a date is 2026-11-25"),
        ("date=..", "a date is 2026-11-25"),
        ("date=2026-11-01..2026-11-02..", "a date is 2026-11-25"),
    ],
)
def test_malformed_conditions_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        conditions(f"results@{text}", text)


@given(st.text(alphabet="acdehimnort=.,-0129T:@", max_size=24))
def test_any_condition_is_read_or_refused(text: str) -> None:
    try:
        found = conditions("results", text)
    except UsageError:
        return
    assert all(
        one.text.partition("=")[0] in ("commit", "torch", "machine", "date") for one in found
    )


def fill(folder: Path, records: Sequence[Record]) -> Path:
    for record in records:
        path = Store(folder).record_path(record.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(record))
    return folder


def some(pipeline: str = "native", seeds: int = 2, **changes: Any) -> list[Record]:
    return [made_record(seed, pipeline=pipeline, record=changes) for seed in range(seeds)]


def pipelines_of(side: Side) -> set[str]:
    return {record.cell.pipeline for record in side.records}


def test_two_folders_two_groups_or_two_parts_of_one(tmp_path: Path) -> None:
    group = fill(tmp_path / "x" / "m_shapes_cpu", [*some(), *some("kornia"), *some("dali")])
    other = fill(tmp_path / "y" / "m_shapes_cpu", some("dali", 3))
    a, b = read_sides(Asked(a=str(tmp_path / "x"), select_a="native", select_b="kornia"))
    assert (pipelines_of(a), pipelines_of(b)) == ({"native"}, {"kornia"})
    assert (a.chosen, b.name) == (True, f"{tmp_path / 'x'} kornia")
    a, b = read_sides(
        Asked(a=str(group), b=str(other.parent), select="native or dali", select_a="native")
    )
    assert (pipelines_of(a), pipelines_of(b)) == ({"native"}, {"dali"})


def test_parts_of_a_folder_by_commit(tmp_path: Path) -> None:
    old, new = "a" * 40, "b" * 40
    fill(tmp_path / "m_shapes_cpu", [
        *some(environment=ENVIRONMENT | {"commit": old}),
        *some("kornia", environment=ENVIRONMENT | {"commit": new}),
    ])  # fmt: skip
    a, b = read_sides(Asked(a=f"{tmp_path}@commit=aaaa", b=f"{tmp_path}@commit=bbbb"))
    assert (pipelines_of(a), pipelines_of(b)) == ({"native"}, {"kornia"})
    with pytest.raises(UsageError, match=r"no record has commit=cccc: there are aaaaaaa \(2\)"):
        read_sides(Asked(a=f"{tmp_path}@commit=cccc", b=f"{tmp_path}@commit=bbbb"))


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    one = fill(tmp_path / "run@commit=1" / "m_shapes_cpu", some()).parent
    other = fill(tmp_path / "other" / "m_shapes_cpu", some("kornia")).parent
    a, _ = read_sides(Asked(a=str(one), b=str(other)))
    assert pipelines_of(a) == {"native"}
    a, _ = read_sides(Asked(a=f"{one}@torch=2.11", b=str(other)))
    assert len(a.records) == 2


def test_reference_matrices_stand_back_and_copies_of_a_run_count_once(tmp_path: Path) -> None:
    fill(tmp_path / "reference" / "m_shapes_cpu", some(seeds=4))
    later = some(finished="2026-03-01T00:00:00+00:00")
    fill(tmp_path / "m_shapes_cpu", some())
    fill(tmp_path / "m-again_shapes_cpu", later)
    other = fill(tmp_path / "b" / "deep" / "m_shapes_cpu", some("dali")).parents[1]
    a, b = read_sides(Asked(a=str(tmp_path), b=f"{other}", select_a="native"))
    assert [record.finished for record in a.records] == [later[0].finished] * 2
    assert any("a: 2 records are of runs that another group" in note for note in a.notes)
    assert pipelines_of(b) == {"dali"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"a": "x"}, "both sides are x: name two folders"),
        ({"a": "x", "b": "x/"}, "both sides are x"),
        ({"a": "x", "b": "x/m_shapes_cpu/.."}, "both sides are x"),
        ({"a": "x", "select_a": "native", "select_b": "native"}, "both sides are x"),
        ({"a": "x", "select_a": "native"}, "2 records are on both sides"),
        ({"a": "x", "b": "copy"}, "4 records are on both sides"),
        ({"a": "nowhere", "b": "x"}, "there is no results folder 'nowhere'"),
        ({"a": "x", "b": "nowhere@torch=2"}, "there is no results folder 'nowhere'"),
        ({"a": "x", "b": "empty"}, "there are no records under empty"),
        ({"a": "x", "b": "y", "select_b": "native"}, "-b: no cell has 'native'"),
        (
            {"a": "x", "b": "y", "select_a": "native and kornia"},
            "-a 'native and kornia' matches none",
        ),
        ({"a": "x", "b": "y", "select": "natve"}, "-k: no cell has 'natve': did you mean native"),
        ({"a": "x", "b": "y", "select": "native"}, "-k 'native' matches no cell of side b"),
        ({"a": "x@native", "b": "y"}, "'x@native' is malformed"),
        ({"a": "", "b": "y"}, "there is no results folder ''"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "copy"):
        fill(Path(name) / "m_shapes_cpu", [*some(), *some("kornia")])
    fill(Path("y") / "m_shapes_cpu", some("dali"))
    Path("empty").mkdir()
    with pytest.raises((UsageError, StoreError)) as error:
        read_sides(Asked(**asked))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unreadable_record_is_refused_with_its_name(tmp_path: Path) -> None:
    a = fill(tmp_path / "a" / "m_shapes_cpu", some())
    b = fill(tmp_path / "b" / "m_shapes_cpu", some("kornia"))
    path = Store(a).record_path(some()[0].run_id)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match=rf"{path.name}.*compare again to do without it"):
        read_sides(Asked(a=str(a), b=str(b)))
    newer = replace(some()[1], schema_version=99)
    Store(a).record_path(newer.run_id).write_bytes(encode(replace(newer, schema_version=1)).replace(
        b'"schema_version":1', b'"schema_version":99'))  # fmt: skip
    with pytest.raises(StoreError, match="upgrade it"):
        read_sides(Asked(a=str(a), b=str(b)))
