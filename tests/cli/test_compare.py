"""`bench compare` as a command: formats, exit codes, and one-sentence errors."""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.cli.compare import parse_limit
from bench.errors import UsageError
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, TRAIN, Metric
from bench.report.compare.compare import compare as compare_sides
from bench.report.compare.sides import read_sides
from bench.report.compare.text import render
from tests.cli.conftest import Bench
from tests.made import write_records
from tests.made_grid import made_grid


def grid(draw: int, seeds: int = 5, **truth: Any) -> list[Record]:
    return made_grid(
        lambda **_: truth, architecture=("cnn2", "cnn4"), optimizer=("sgd",),
        augmentation=("none",), pipeline=("kornia", "native"), seeds=seeds, draw=draw,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare")
    write_records(root / "before" / "m_shapes_cpu", grid(0))
    write_records(root / "after" / "m_shapes_cpu", grid(1, images_per_s=800.0, accuracy=0.62))
    write_records(root / "same" / "m_shapes_cpu", grid(2))
    write_records(root / "few" / "m_shapes_cpu", grid(3, seeds=2))
    return root


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture
def compare(bench: Bench) -> Bench:
    return partial(bench, "compare")


def test_every_format_shows_cells_verdicts_and_differences(compare: Bench) -> None:
    for form in ("rich", "md"):
        done = compare("before", "after", "--format", form)
        assert done.exit_code == 0, done.output
        for message in (
            "Against a, b is slower in 4 of 4 cells", "cnn4/sgd/none/native", "all 4 cells", "Holm",
            "differ in nothing but their seeds and results", "b: after",
        ):  # fmt: skip
            assert message in " ".join(done.stdout.split()), (form, message)
    frame = pd.read_csv(StringIO(compare("before", "after", "--format", "csv").stdout))
    assert (len(frame), set(frame["verdict"])) == (4, {"slower"})


def test_cells_without_a_verdict_are_folded(compare: Bench) -> None:
    words = ("before", "-a", "native", "-b", "kornia")
    folded, whole = compare(*words).stdout, compare(*words, "--all").stdout
    message = "2 cells without a verdict: cannot tell in 2 (--all shows them)."
    assert message in folded
    assert "cnn4" not in folded
    assert "all 2 cells" in folded
    assert "without a verdict" not in whole
    assert "cnn4/sgd/none" in whole
    for text in (folded, whole):
        assert text.startswith("Against a, b has no verdict on images/s in any of 2 cells")
        assert "pipeline: native -> kornia" in text


def test_json_has_the_figures(compare: Bench) -> None:
    done = compare("before", "after", "--format", "json", "--fail-on", "accuracy:1")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {cell["verdict"] for cell in found["cells"]} == {"slower"}
    speed = found["cells"][0]["figures"]["images_per_s"]
    assert speed["low"] < 0.8 < speed["high"]
    assert (speed["seeds"], speed["test"]) == ([5, 5], "Welch")
    assert found["cells"][0]["figures"]["accuracy"]["points"] == pytest.approx(2, abs=1)
    assert found["cells"][0]["figures"]["time_to_accuracy_s"]["reached"] == [5, 5]
    assert found["cells"][0]["same_images"] is None
    assert found["all_cells"]["images_per_s"]["ratio"] == pytest.approx(0.8, abs=0.02)
    assert found["fail_on"] == [{"limit": "accuracy:1", "broken": [], "judged": 5, "too_few": 0}]


@pytest.mark.parametrize(
    ("text", "metric", "looked_at", "null"),
    [
        ("slower:3%", SPEED, SPEED, math.log(0.97)),
        ("slower:3%", TRAIN, TRAIN, math.log(1.03)),
        (" slower:0.5 % ", TIME, TIME, math.log(1.005)),
        ("slower:3%", ACCURACY, SPEED, math.log(0.97)),
        ("slower:150%", TIME, TIME, math.log(2.5)),
        ("accuracy:0.5", SPEED, ACCURACY, -0.5),
        ("accuracy:0.5 points", SPEED, ACCURACY, -0.5),
        ("macro_f1:1", TIME, MACRO_F1, -1.0),
    ],
)
def test_limits_are_read(text: str, metric: Metric, looked_at: Metric, null: float) -> None:
    found = parse_limit(text, metric)
    assert (found.metric, found.null) == (looked_at, pytest.approx(null))


@pytest.mark.parametrize(
    "text", ["", "slower", "slower:", "slower:3", "slower:-3%", "faster:3%", "accuracy:0.5%",
             "accuracy:x", "slower:nan%", "slower:3%,accuracy:1"],
)  # fmt: skip
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is malformed: write slower:3%"):
        parse_limit(text, SPEED)
    with pytest.raises(UsageError, match="cannot fall by 100 %"):
        parse_limit("slower:100%", SPEED)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["after", "--fail-on", "slower:3%"], 1, "broken by cnn2/sgd/none/kornia, cnn2"),
        (["after", "--fail-on", "slower:40%"], 0, "slower:40%: not broken"),
        (["after", "--fail-on", "slower:40%", "--fail-on", "slower:3%"], 1, "slower:3%: broken"),
        (["same", "--fail-on", "slower:3%", "--fail-on", "accuracy:0.5"], 0, "accuracy:0.5: not"),
        (["after", "--metric", "accuracy", "--fail-on", "accuracy:0.5"], 0, "higher in"),
    ],
)
def test_limits_set_exit_codes(compare: Bench, arguments: list[str], code: int, text: str) -> None:
    done = compare("before", *arguments)
    assert done.exit_code == code, done.output
    assert text in done.stdout
    assert done.stderr == ""


def test_a_limit_that_cannot_be_judged_is_a_usage_error(compare: Bench) -> None:
    done = compare("before", "few", "--fail-on", "slower:3%")
    assert done.exit_code == 2
    assert "too few seeds" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: --fail-on slower:3% cannot be judged")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["before"], "both sides are before"),
        (["before", "after", "--metric", "images"], "did you mean images_per_s"),
        (["before", "after", "--fail-on", "slower"], "--fail-on 'slower' is malformed"),
        (["before", "after", "--format", "xml"], "unknown format 'xml'"),
        (["before", "after", "-a", "vit"], "-a: no cell has 'vit'"),
        (["before", "after", "-a", "cnn2", "-b", "cnn4 and native", "-k", "kornia"], "-b"),
    ],
)
def test_usage_errors(refused: Callable[..., str], arguments: list[str], text: str) -> None:
    assert text in refused("compare", *arguments)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_narrow_terminals_drop_no_value_and_break_no_name(width: int) -> None:
    found = compare_sides(*read_sides("before", "after", both="cnn4"), SPEED)
    text = render(found, "rich", width=width)
    assert max(map(len, text.splitlines())) <= width
    whole = render(found, "rich").splitlines()
    (line,) = (line for line in whole if line.startswith("cnn4/sgd/none/native"))
    for value in re.split(r"  +", line):
        assert f"{value}\n" in text or f"{value}  " in text, value


def test_better_is_green_and_worse_red_on_a_terminal() -> None:
    sides = read_sides("before", "after", both="cnn4 and native")
    assert "\x1b[31mslower" in render(compare_sides(*sides, SPEED), "rich", color=True)
    assert "\x1b[1;32mfaster" in render(compare_sides(*sides[::-1], SPEED), "rich", color=True)
    assert "\x1b" not in render(compare_sides(*sides, SPEED), "rich")
