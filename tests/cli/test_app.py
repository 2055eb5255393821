"""The command line: flags, exit codes, and one-sentence errors."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from bench import __version__
from bench.cli import app
from bench.executors import runner as executing
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.store.store import Store
from tests.cli.conftest import Bench

VERBS: dict[str, Any] = vars(typer.main.get_command(app.app))["commands"]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_at_80_columns_is_whole_and_names_every_option_in_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = bench(*filter(None, [verb]), "--help")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = " ".join(re.sub("[│╭╰─╮╯]", " ", done.stdout).split())
    assert not re.search(r"<[a-z]|…|\.\.\.", re.sub(r"[]}]\.\.\.", "", text))
    for name in [verb] if verb else VERBS:
        assert VERBS[name].help.partition("\n\n")[0] in text
    for parameter in VERBS[verb].params if verb else ():
        if parameter.param_type_name == "option":
            assert all(name in text for name in parameter.opts)


def test_the_version_is_shown(bench: Bench) -> None:
    done = bench("--version")
    assert (done.exit_code, done.stdout) == (0, f"pipeline-bench {__version__}\n")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run --grid defualt", "unknown grid 'defualt': did you mean default?"),
        ("run -k resnt18", "-k: no cell has 'resnt18': did you mean resnet18"),
        ("run -k densenet121", "the grid lacks it, --architecture densenet121 puts it in all"),
        ("run --seed -1", "--seed takes one number from 0 to"),
        ("run --seed 3 --seeds 5", "--seed is for one seed and --seeds for the first few"),
        ("run --source cifar11", "unknown source 'cifar11'"),
        ("run --architecture resnet81", "unknown architecture 'resnet81': did you mean resnet18"),
        ("run --optimizer sdg", "unknown optimizer 'sdg': did you mean sgd"),
        ("run --augmentation flipcrop", "unknown augmentation 'flipcrop'"),
        ("run --pipeline kornja", "unknown pipeline 'kornja': did you mean kornia?"),
        ("run --pipeline kornia[compile]", "did you mean compiled?"),
        ("run --device cuda", "no GPU can be used here: no NVIDIA driver"),
        ("run --device tpu", "unknown value of --device 'tpu'"),
        ("run --scale ful", "did you mean full?"),
        ("run --precision fp8", "unknown value of --precision 'fp8'"),
        ("run --seeds 0", "--seeds is at least 1, got 0"),
        ("run --epochs 0", "--epochs is at least 1, got 0"),
        ("run --target 94", "--target is a share in (0, 1]"),
        ("run --shard 0/8", "--shard 0/8: shards are counted from 1 to 8"),
        ("run --timeout 0", "--timeout takes a number of at least 1, got '0'"),
        ("run --seeds two", "--seeds takes a whole number, got 'two'"),
        ("run --target high", "--target takes a number, got 'high'"),
        ("run --nonsense", "no such option: --nonsense"),
        ("show", "missing argument 'run'; see bench show --help"),
        ("shwo", "no such command 'shwo'. Did you mean 'show'? see bench --help"),
        ("table nowhere", "there is no results folder nowhere"),
        ("table .", "there are no records under ."),
        ("report nowhere", "there is no results folder nowhere"),
        ("report .", "there are no records under ."),
        ("roofline .", "is not a group of a results folder"),
        ("roofline . --device cpi", "did you mean cpu?"),
        ("compare a --format markdown", "unknown format 'markdown'"),
        ("list pipeline", "unknown kind of entry 'pipeline': did you mean pipelines or"),
        ("list --format jsn", "unknown format 'jsn': did you mean json?"),
    ],
)
def test_a_wrong_command_gets_one_sentence_and_writes_nothing(
    refused: Callable[..., str], tmp_path: Path, words: str, message: str
) -> None:
    assert message in refused(*words.split()).replace("root ", "bench ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("machine")
def test_a_folder_in_use_is_reported(bench: Bench, tmp_path: Path) -> None:
    options = ["run", "--device", "cpu", "--out", "out"]
    folder = planning.make(RunOptions(device="cpu", out=Path("out")), print).folder
    with Store(folder).lock():
        done = bench(*options)
    assert done.exit_code == 2
    assert "is in use: already running (pid " in done.stderr
    assert "Add --wait to start when it has ended" in done.stderr


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
def test_exit_code_and_summary_of_a_grid(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failed: int, code: int
) -> None:
    outcome = executing.GridOutcome(
        counts=executing.Counter(ok=1, crashed=failed), interrupted=False
    )
    monkeypatch.setattr(executing, "run_plan", lambda *args, **kwargs: outcome)
    monkeypatch.setattr(sys, "argv", ["/some/where/bench", "run", "--device", "cpu"])
    done = bench("run", "--device", "cpu")
    assert done.exit_code == code
    assert "matrix.md" in done.stdout
    assert done.stdout.endswith(": bench run --device cpu\n")


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 2)])
def test_doctor_exits_with_2_if_a_check_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    from bench.machine import doctor

    check = doctor.Check(name="gpu", status=status, message="looked at")
    monkeypatch.setattr(doctor, "run_checks", lambda data_dir, out: [check])
    done = bench("doctor")
    assert done.exit_code == code
    assert "looked at" in done.stdout
