"""Results folders that cannot be used, or have odd names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.store.store import Store
from tests.cli.conftest import Bench
from tests.faults.permissions import as_ordinary_user
from tests.made import made_failure, made_record


def read_only(folder: Path) -> Path:
    (folder / "locked").mkdir(mode=0o555)
    return folder / "locked" / "results"


def links_in_circles(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a" / "results"


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "read-only": (read_only, "Permission denied; permit it, or name another folder"),
    "too long": (lambda folder: folder / ("x" * 300), "File name too long; give it a shorter name"),
    "links": (links_in_circles, "Too many levels of symbolic links"),
    "device": (lambda folder: Path("/dev/null"), "Not a directory"),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_folder_that_cannot_be_used_is_refused_before_any_training(
    refused: Callable[..., str], tmp_path: Path, case: str
) -> None:
    make, reason = UNUSABLE[case]
    out = make(tmp_path)
    with as_ordinary_user():
        line = refused("run", "--grid", "smoke", "--device", "cpu", "--out", str(out), "--quiet")
    assert str(out) in line
    assert reason in line
    assert "name" in line  # another folder, or a shorter name


NAMES = ("two words", "結果", "نتائج", "--out", "a\nb", "[red]", "$(x)`y`", "x" * 200, "%s{}")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_can_be_written_and_read(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    store = Store(tmp_path / name / "machine_shapes_cpu")
    store.check_writable()
    store.write(made_record())
    store.write(made_failure(architecture="cnn4"))
    done = bench("table", "--format", "csv", "--", str(tmp_path / name))
    assert done.exit_code == 0, (done.output, done.exception)
    assert {"resnet18", "cnn4"} <= set(done.stdout.replace(",", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == [name]
