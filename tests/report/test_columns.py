"""Columns: a metric needs only its declaration, and its kind implies its properties."""

import json

from bench.record import Memory
from bench.report.columns import COLUMNS, METRICS
from bench.report.matrix import averaged, build
from bench.report.table import Pivot, pivoted, render
from tests.made import made_record

BUSY = {"timing_suspect": ("throttled",)}


def test_a_metric_appears_everywhere() -> None:
    matrix = build(
        [
            made_record(architecture="a", record={"memory": Memory(host_gib=2.0)}),
            made_record(architecture="b", record={"memory": Memory(host_gib=1.25), **BUSY}),
        ]
    )
    assert "memory GiB" in render(matrix, "md")
    assert "**1.25**" in render(matrix, "md"), "suspect timings leave memory as it is"
    assert "memory_gib,memory_gib_sd" in render(matrix, "csv")
    (table,) = json.loads(render(matrix, "json"))
    assert [row["memory_gib"] for row in table["rows"]] == [2.0, 1.25]
    assert render(matrix, "csv", sort_by="memory_gib").splitlines()[1].count("b,sgd") == 1
    assert averaged(matrix, ["pipeline"])[0]["memory_gib"][0] == 1.625
    assert pivoted(matrix, Pivot(metric="memory_gib")).texts.title.startswith("memory GiB")
    assert matrix.outcomes[0].values(METRICS["memory_gib"]) == (2.0,)


def test_memory_is_that_of_the_device_and_suspect_energy_is_left_out() -> None:
    memory = Memory(host_gib=9.0, device_gib=2.0)
    records = [
        made_record(record={"memory": memory, "energy_j": 7.0}),
        made_record(1, record={"memory": memory, "energy_j": 900.0} | BUSY),
        made_record(2, record={"memory": Memory(host_gib=5.0)}),
    ]
    (row,) = build(records).frame.to_dict(orient="records")
    assert (row["memory_gib"], row["energy_j"]) == (3.0, 7.0)
    assert "energy" not in render(build(records[2:]), "md")


def test_every_metric_has_digits() -> None:
    for metric in METRICS.values():
        assert metric.digits is not None
        assert metric.label
    assert all(COLUMNS[name].name == name for name in COLUMNS)
