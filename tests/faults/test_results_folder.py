"""Results folders that cannot be used, or have odd names.

What needs a plan runs on a machine without a GPU, with an executor that must never be reached.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.store.store import Store
from tests.faults.machines import NO_GPU, pretend
from tests.faults.permissions import as_ordinary_user
from tests.made import made_failure, made_record

WORDS = ("run", "--grid", "smoke", "--device", "cpu", "--source", "shapes")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path / "here")(NO_GPU)


def run_into(out: Path) -> str:
    """The sentence that a results folder which cannot be used gets, before anything is trained."""
    done = CliRunner().invoke(app.app, [*WORDS, "--out", str(out)])
    assert done.exit_code == 2, (done.output, done.exception)
    assert "Traceback" not in done.output
    line = done.stderr.splitlines()[-1]
    assert line.startswith("bench: ")
    return str(line)


# Results folders that cannot be used.


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("mine")
    return folder / "file"


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "results"


def read_only(folder: Path) -> Path:
    (folder / "locked").mkdir(mode=0o555)
    return folder / "locked" / "results"


def a_name_too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


def links_in_circles(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a" / "results"


def a_device(folder: Path) -> Path:
    return Path("/dev/null")


UNUSABLE: dict[Callable[[Path], Path], tuple[str, str]] = {
    a_file: ("Not a directory", "name another folder"),
    below_a_file: ("Not a directory", "name another folder"),
    read_only: ("Permission denied", "permit it, or name another folder"),
    a_name_too_long: ("File name too long", "give it a shorter name"),
    links_in_circles: ("Too many levels of symbolic links", "name another folder"),
    a_device: ("Not a directory", "name another folder"),
}


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("make", UNUSABLE)
def test_a_results_folder_that_cannot_be_used_is_told_before_any_training(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """What, where and what to do; a person's file stays as it was."""
    out = make(tmp_path)
    with as_ordinary_user():
        line = run_into(out)
    reason, advice = UNUSABLE[make]
    assert str(out) in line
    assert reason in line
    assert advice in line
    if (tmp_path / "file").exists():
        assert (tmp_path / "file").read_text() == "mine"


NAMES = [
    "two words",
    "結果",
    "نتائج",
    "-dash",
    "--out",
    "a\nb",
    "[red]",
    "$(x)`y`",
    "x" * 200,
    "%s{}",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_results_folder_of_any_name_can_be_written_and_read(tmp_path: Path, name: str) -> None:
    """Records go in, tables come out, nothing is written beside it."""
    folder = tmp_path / name / "machine_shapes_cpu"
    store = Store(folder)
    store.check_writable()
    store.write(made_record())
    store.write(made_failure(architecture="cnn4"))
    done = CliRunner().invoke(app.app, ["table", "--format", "csv", "--", str(tmp_path / name)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert {"resnet18", "cnn4"} <= set(done.stdout.replace(",", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == [name]
