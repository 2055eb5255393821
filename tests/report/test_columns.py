"""Columns: a metric needs only its declaration, and its kind implies its properties."""

import json

from bench.record import Memory
from bench.report.columns import METRICS
from bench.report.matrix import averaged, build
from bench.report.render import ABSENT, SUSPECT, shown
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
    assert " 1.25 " in render(matrix, "md"), "suspect timings leave memory as it is"
    assert "**1.25**" not in render(matrix, "md"), "no memory is best: differences are noise"
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
    unmeasured = build([made_record(record=BUSY)]).frame
    assert shown(unmeasured, ["energy_j", "train_s"])[0] == {
        "energy_j": [ABSENT], "train_s": [SUSPECT],
    }  # fmt: skip
    both = build([records[0], made_record(architecture="b", record={"energy_j": 9.0} | BUSY)])
    assert shown(both.frame, ["energy_j"])[0] == {"energy_j": ["7", SUSPECT]}


def test_seconds_below_ten_have_two_digits() -> None:
    records = [
        made_record(architecture=net, optimizer="muon", time_to_accuracy_s=seconds)
        for net, seconds in (("a", 0.164), ("b", 0.243), ("c", 12.34))
    ]
    matrix = build(records)
    assert shown(matrix.frame, ["time_to_accuracy_s"]) == (
        {"time_to_accuracy_s": ["0.16", "0.24", "12.3"]}, {"time_to_accuracy_s": {0}},
    )  # fmt: skip
    pivot = pivoted(matrix, Pivot(metric="time_to_accuracy_s"))
    assert pivot.texts.cells["muon"] == ["0.16", "0.24", "12.3"]
