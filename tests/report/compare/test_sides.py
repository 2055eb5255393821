"""The sides of a comparison: how they are spelled, what they hold, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.record import Record
from bench.report.columns import SPEED
from bench.report.compare.compare import compare
from bench.report.compare.sides import Side, read_sides
from bench.store.codec import encode
from bench.store.files import StoreError
from bench.store.store import Store
from tests.made import made_record, write_records


def some(pipeline: str = "native", seeds: int = 2, **changes: Any) -> list[Record]:
    return [made_record(seed, pipeline=pipeline, record=changes) for seed in range(seeds)]


def pipelines_of(side: Side) -> set[str]:
    return {record.cell.pipeline for record in side.records}


def test_two_folders_two_groups_or_two_parts_of_one(tmp_path: Path) -> None:
    group = write_records(
        tmp_path / "x" / "m_shapes_cpu", [*some(), *some("kornia"), *some("dali")]
    )
    other = write_records(tmp_path / "y" / "m_shapes_cpu", some("dali", 3))
    a, b = read_sides(str(tmp_path / "x"), select_a="native", select_b="kornia")
    assert (pipelines_of(a), pipelines_of(b)) == ({"native"}, {"kornia"})
    assert (a.selected, b.name) == (True, f"{tmp_path / 'x'} kornia")
    a, b = read_sides(str(group), str(other.parent), both="native or dali", select_a="native")
    assert (pipelines_of(a), pipelines_of(b)) == ({"native"}, {"dali"})


def test_reference_matrices_stand_back_and_a_seed_counts_once(tmp_path: Path) -> None:
    write_records(tmp_path / "reference" / "m_shapes_cpu", some(seeds=4))
    later = some(finished="2026-03-01T00:00:00+00:00")
    write_records(tmp_path / "m_shapes_cpu", some())
    write_records(tmp_path / "m-again_shapes_cpu", later)
    other = write_records(tmp_path / "b" / "deep" / "m_shapes_cpu", some("dali")).parents[1]
    a, b = read_sides(str(tmp_path), f"{other}", select_a="native")
    assert pipelines_of(b) == {"dali"}
    assert len(a.records) == 4
    assert compare(a, b, SPEED).rows[0].found["images_per_s"].facts["seeds"] == (2, 2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"a": "x"}, "both sides are x: name two folders"),
        ({"a": "x", "b": "x/"}, "both sides are x"),
        ({"a": "x", "select_a": "native", "select_b": "native"}, "both sides are x"),
        ({"a": "x", "select_a": "native"}, "2 records are on both sides"),
        ({"a": "x", "b": "copy"}, "4 records are on both sides"),
        ({"a": "nowhere", "b": "x"}, "there is no results folder nowhere"),
        ({"a": "x", "b": "empty"}, "there are no records under empty"),
        ({"a": "x", "b": "y", "select_b": "native"}, "-b: no cell has 'native'"),
        (
            {"a": "x", "b": "y", "select_a": "native and kornia"},
            "-a 'native and kornia' matches none",
        ),
        ({"a": "x", "b": "y", "both": "natve"}, "-k: no cell has 'natve': did you mean native"),
        ({"a": "x", "b": "y", "both": "native"}, "-k 'native' matches no cell of side b"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "copy"):
        write_records(Path(name) / "m_shapes_cpu", [*some(), *some("kornia")])
    write_records(Path("y") / "m_shapes_cpu", some("dali"))
    Path("empty").mkdir()
    with pytest.raises((UsageError, StoreError)) as error:
        read_sides(**asked)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unreadable_record_is_refused_with_its_name(tmp_path: Path) -> None:
    a = write_records(tmp_path / "a" / "m_shapes_cpu", some())
    b = write_records(tmp_path / "b" / "m_shapes_cpu", some("kornia"))
    path = Store(a).record_path(some()[0].run_id)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match=rf"{path.name}.*compare again to do without it"):
        read_sides(str(a), str(b))
    newer = replace(some()[1], schema_version=99)
    Store(a).record_path(newer.run_id).write_bytes(encode(replace(newer, schema_version=1)).replace(
        b'"schema_version":1', b'"schema_version":99'))  # fmt: skip
    with pytest.raises(StoreError, match="upgrade pipeline-bench"):
        read_sides(str(a), str(b))
