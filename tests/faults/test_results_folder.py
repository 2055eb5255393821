"""Results folders that cannot be used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.permissions import as_ordinary_user


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
