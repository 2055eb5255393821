"""The table of the benchmarks is up to date and complete, and shows missed targets."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import table

PAGES = {"decoded_pixels", "first_experiment", "pictures"}  # which write files of their own
SHARED = {"common", "table", "jpeg_tree", "plain_airnet94"}


def test_the_committed_table_is_made_from_the_figures_beside_it() -> None:
    written = (table.REFERENCE / table.NAME).read_text()
    assert written == table.table(table.REFERENCE)


def test_every_benchmark_is_in_the_table() -> None:
    scripts = {path.stem for path in Path(table.__file__).parent.glob("[!_]*.py")}
    others = {"loaders", "airnet94_whole", "cpu_precision"}  # of `bench loaders`, or with options
    assert scripts - SHARED - PAGES | others == set(table.FIGURES)


@pytest.mark.parametrize(("stall_pct", "met"), [(2.0, "yes"), (2.01, "**no**")])
def test_a_missed_target_is_marked_in_the_table(tmp_path: Path, stall_pct: float, met: str) -> None:
    figures = {"stall_pct": stall_pct, "stall_pct_95": [1.0, 3.0]}
    content = {"conditions": {"date": "2026-01-02", "load_before": [0.5]}, "figures": figures}
    (tmp_path / "native_stall.json").write_text(json.dumps(content))
    (row,) = table.lines(tmp_path)
    assert row[2:] == (f"{stall_pct:g} (1.00 to 3.00)", "<= 2", met, "2026-01-02", "0.5")
    missing = table.table(tmp_path).splitlines()[-1]
    assert missing.startswith("Not measured here: suite_steps, ")
    assert "native_stall" not in missing
