"""Columns: a new one needs only one declaration, and its kind implies its properties."""

import subprocess
import sys
from pathlib import Path

from bench.record import Memory
from bench.report.columns import COLUMNS, METRICS
from bench.report.matrix import build
from tests import checkout
from tests.made import made_record

DECLARED = """
        Metric(
            name="host_gib", header="host GiB", label="host memory",
            of=lambda run: run.memory.host_gib, kind="memory", digits=2, best="lowest",
        ),
"""
FOLLOWS = """
import json

from bench.record import Memory
from bench.report.columns import METRICS
from bench.report.matrix import averaged, build
from bench.report.table import Pivot, pivoted, render
from tests.made import made_record

busy = {"timing_suspect": ("throttled",)}
records = [
    made_record(architecture="a", record={"memory": Memory(host_gib=2.0)}),
    made_record(architecture="b", record={"memory": Memory(host_gib=1.25), **busy}),
]
matrix = build(records)
text = render(matrix, "md")
assert "host GiB" in text
assert "**1.25**" in text, "suspect timings leave memory as it is"
assert "host_gib,host_gib_sd" in render(matrix, "csv")
assert [row["host_gib"] for row in json.loads(render(matrix, "json"))["rows"]] == [2.0, 1.25]
assert render(matrix, "csv", sort_by="host_gib").splitlines()[1].count("b,sgd") == 1
means, _ = averaged(matrix, ["pipeline"])
assert means["host_gib"][0] == 1.625
assert pivoted(matrix, Pivot(metric="host_gib")).title.startswith("host GiB")
assert sorted(matrix.outcomes[0].values(METRICS["host_gib"])) == [2.0]
"""


def test_a_new_column_appears_everywhere(tmp_path: Path) -> None:
    copy = checkout.make(tmp_path, {})
    module = copy / "bench" / "report" / "columns.py"
    text = module.read_text()
    before = '        Column(name="reads", header="reads", priority=1),\n'
    assert text.count(before) == 1
    module.write_text(text.replace(before, DECLARED.lstrip("\n") + before))
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWS],
        env={"PYTHONPATH": f"{copy}:{checkout.ROOT}"},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_memory_is_that_of_the_device_and_suspect_energy_is_left_out() -> None:
    memory, busy = Memory(host_gib=9.0, device_gib=2.0), {"timing_suspect": ("throttled",)}
    records = [
        made_record(record={"memory": memory, "energy_j": 7.0}),
        made_record(1, record={"memory": memory, "energy_j": 900.0} | busy),
        made_record(2, record={"memory": Memory(host_gib=5.0)}),
    ]
    (row,) = build(records).frame.to_dict(orient="records")
    assert (row["memory_gib"], row["energy_j"]) == (3.0, 7.0)


def test_every_metric_has_digits() -> None:
    for metric in METRICS.values():
        assert metric.digits is not None
        assert metric.label
    assert all(COLUMNS[name].name == name for name in COLUMNS)
