"""Rows whose pipeline has an op of its own: never ranked, averaged or bold with others."""

import dataclasses
import re
from pathlib import Path

import pytest

from bench.record import Record
from bench.report import loaders, show, table
from bench.report.answers import answers
from bench.report.compare.sides import Side, differences, match_sides
from bench.report.conclusions import conclude
from bench.report.figures.comparison import comparisons
from bench.report.figures.pipelines import pipelines_alone
from bench.report.matrix import build
from bench.report.statistics.effects import effects
from bench.report.table import footings
from tests.made import made_failure, made_record, write_records
from tests.made_loaders import made_loaders, made_series

OWN = {"augmentation_differs": {"RandAugment": "ops are drawn once per batch"}}
WORDS = "another RandAugment: ops are drawn once per batch"


def pipeline(name: str, images_per_s: float, own: bool = False) -> list[Record]:
    return [
        made_record(
            seed,
            pipeline=name,
            images_per_s=images_per_s + seed,
            accuracy=0.5 + images_per_s / 1e4,
            record=OWN if own else {},
        )
        for seed in range(5)
    ]


KORNIA = pipeline("kornia[own]", 900.0, own=True)
RECORDS = [*KORNIA, *pipeline("native", 500.0), *pipeline("torchvision", 100.0)]


def test_other_ops_are_no_level_of_a_factor_and_never_the_best() -> None:
    quickest, _, _, accurate = answers(RECORDS)
    assert (quickest.entry, quickest.sure) == ("native", True)
    assert "native" in accurate.entry
    assert "among 2 of 3 cells" in accurate.value
    assert not effects(RECORDS)["level"].str.contains("own").any()
    assert len(footings(RECORDS)) == 2
    best = conclude(RECORDS)["Best cells"]
    assert sum("kornia's own RandAugment: Best accuracy" in text for text in best) == 1
    text = table.render(build(RECORDS), "rich", color=True)
    (own,) = (line for line in text.splitlines() if "kornia[own]" in line)
    assert "\x1b[1m" not in own
    assert "\x1b[1m" in text


def test_a_pipeline_that_draws_once_per_batch_is_no_rival_in_speed() -> None:
    shared = [
        dataclasses.replace(run, augmentation_draws={"Crop": "per batch"})
        for run in pipeline("torchvision_batch", 900.0)
    ]
    assert answers([*shared, *RECORDS])[0].entry == "native"
    assert answers(shared)[0].entry == "torchvision_batch"


def test_who_reads_an_array_is_not_ranked_with_those_that_decode_the_same_files() -> None:
    def run(name: str, images_per_s: float, reads: str, source: str) -> list[Record]:
        record = {"reads": reads}
        return [
            made_record(
                seed, pipeline=name, images_per_s=images_per_s, source=source, record=record
            )
            for seed in range(5)
        ]

    for source, quickest in (("folder:x[size=224,decode]", "slow"), ("folder:x", "array")):
        records = [
            *run("slow", 100.0, "files", source),
            *run("slower", 50.0, "files", source),
            *run("array", 900.0, "array", source),
        ]
        assert answers(records)[0].entry == quickest
        text = table.render(build(records), "md")
        assert ("reads an array" in text) == (quickest == "slow")


def test_a_run_that_failed_early_stays_in_its_row() -> None:
    failed = made_failure(9, pipeline="kornia[own]")
    assert len(build([*KORNIA, failed]).outcomes) == 1


@pytest.mark.parametrize("form", ["md", "rich", "csv", "json"])
def test_tables_say_what_differs(form: str) -> None:
    assert WORDS in table.render(build(RECORDS), form)  # type: ignore[arg-type]
    series = (made_series("native", 1, 2, 3), made_series("kornia[own]", 7, 8, 9))
    other = dataclasses.replace(series[1], differs=OWN["augmentation_differs"])
    record = made_loaders(series[0], other)
    assert WORDS in loaders.render(record, form)  # type: ignore[arg-type]
    assert [(row["pipeline"], row["rank"]) for row in loaders.rows(record)] == [
        ("native", "1"),
        ("kornia[own]", None),
    ]
    sketch, *_ = pipelines_alone(comparisons(RECORDS, record)[0])
    assert "Other work by the same name, not ranked: kornia[own]." in sketch.caption
    assert not any("kornia" in answer.entry for answer in answers([], loaders=record))


def test_caveats_a_run_and_a_comparison_say_what_differs(tmp_path: Path) -> None:
    (said,) = (text for text in conclude(RECORDS)["Caveats"] if "its own" in text)
    assert re.match(r"`kornia\[own\]` has its own `RandAugment` and is not ranked", said)
    write_records(tmp_path / "machine_shapes_cpu", KORNIA[:1])
    assert WORDS in show.render(show.find_run(tmp_path, "kornia[own]"))
    sides = (
        Side(name=name, records=(*found,)) for name, found in (("a", RECORDS[5:10]), ("b", KORNIA))
    )
    found = differences(match_sides(*sides))
    assert "done otherwise: nothing -> kornia's own RandAugment" in found
