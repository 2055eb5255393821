"""`bench compare` as a command: formats, exit codes, and one-sentence errors."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.record import Record
from bench.report.columns import SPEED
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
        for said in (
            "cnn4/sgd/none/native", "slower", "all 4 cells", "Holm", "too few cells",
            "differ in nothing but their seeds and results", "before", "20 runs of 4",
        ):  # fmt: skip
            assert said in " ".join(done.stdout.split()), (form, said)
    assert compare("before", "after", "--format", "md").stdout.startswith("### b against a")


def test_differences_are_shown_above_the_table(compare: Bench) -> None:
    for form in ("rich", "md"):
        text = compare("before", "-a", "native", "-b", "kornia", "--format", form).stdout
        told = text.replace("&gt;", ">")
        assert told.index("pipeline: native -> kornia") < told.index("verdict")


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
    assert found["all_cells"]["images_per_s"]["ratio"] == pytest.approx(0.8, abs=0.02)
    assert found["fail_on"] == [{"limit": "accuracy:1", "broken": [], "judged": 4, "too_few": 0}]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["after", "--fail-on", "slower:3%"], 1, "broken by cnn2/sgd/none/kornia, cnn2"),
        (["after", "--fail-on", "slower:40%"], 0, "slower:40%: not broken"),
        (["after", "--fail-on", "slower:40%", "--fail-on", "slower:3%"], 1, "slower:3%: broken"),
        (["same", "--fail-on", "slower:3%", "--fail-on", "accuracy:0.5"], 0, "accuracy:0.5: not"),
        (["after", "--metric", "accuracy", "--fail-on", "accuracy:0.5"], 0, "higher in"),
    ],
)
def test_limits_set_the_exit_code(
    compare: Bench, arguments: list[str], code: int, said: str
) -> None:
    done = compare("before", *arguments)
    assert done.exit_code == code, done.output
    assert said in done.stdout
    assert done.stderr == ""


def test_a_limit_that_cannot_be_judged_is_a_usage_error(compare: Bench) -> None:
    done = compare("before", "few", "--fail-on", "slower:3%")
    assert done.exit_code == 2
    assert "too few seeds" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: --fail-on slower:3% cannot be judged")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["before"], "both sides are before"),
        (["before", "after", "--metric", "images"], "did you mean images_per_s"),
        (["before", "after", "--fail-on", "slower"], "--fail-on 'slower' is malformed"),
        (["before", "after", "--format", "csv"], "unknown format 'csv'"),
        (["before", "after", "-a", "vit"], "-a: no cell has 'vit'"),
        (["before", "after", "-a", "cnn2", "-b", "cnn4 and native", "-k", "kornia"], "-b"),
    ],
)
def test_invalid_usage_gives_one_sentence(
    refused: Callable[..., str], arguments: list[str], said: str
) -> None:
    assert said in refused("compare", *arguments)


def test_a_narrow_terminal_keeps_cell_value_and_verdict() -> None:
    text = render(compare_sides(*read_sides("before", "after"), SPEED), "rich", width=80)
    assert max(map(len, text.splitlines())) <= 80
    for said in ("cnn4/sgd/none/native", "slower", "b/a", "left out for width"):
        assert said in text
