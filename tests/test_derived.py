"""Derived files of a folder: the old ones go, whatever somebody else put there stays."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.derived import LIST, replace_files
from bench.files import StoreError

NAMES = ("a.png", "b.svg", "c.png", "d.svg")


def never(message: str) -> None:
    raise AssertionError(message)


def found(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LIST}


@given(
    calls=st.lists(
        st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=3)), min_size=1, max_size=4
    )
)
def test_a_folder_holds_what_was_written_last(
    calls: list[dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    for files in calls:
        replace_files(folder, files, never)
        assert found(folder) == files
    listed = (folder / LIST).read_bytes()
    replace_files(folder, calls[-1], never)
    assert (folder / LIST).read_bytes() == listed


def test_what_somebody_put_there_or_changed_stays(tmp_path: Path) -> None:
    replace_files(tmp_path, {"old.png": b"ours", "kept.svg": b"ours"}, never)
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "kept.svg").write_bytes(b"changed by hand")
    replace_files(tmp_path, {"new.png": b"new"}, never)
    assert found(tmp_path) == {
        "mine.png": b"mine",
        "kept.svg": b"changed by hand",
        "new.png": b"new",
    }


def test_a_list_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    outside = tmp_path / "records.json"
    folder = tmp_path / "report"
    outside.write_bytes(b"1")
    replace_files(folder, {"a.png": b"1"}, never)
    digest = json.loads((folder / LIST).read_text())["a.png"]
    (folder / LIST).write_text(json.dumps({"../records.json": digest, str(outside): digest}))
    replace_files(folder, {}, never)
    assert outside.exists()


@pytest.mark.parametrize("text", ["{", "[]", '"a.png"'])
def test_a_damaged_list_is_told_and_removes_nothing(text: str, tmp_path: Path) -> None:
    replace_files(tmp_path, {"a.png": b"1"}, never)
    (tmp_path / LIST).write_text(text)
    said: list[str] = []
    replace_files(tmp_path, {"b.png": b"2"}, said.append)
    assert found(tmp_path) == {"a.png": b"1", "b.png": b"2"}
    assert len(said) == 1
    assert str(tmp_path / LIST) in said[0]


def test_a_name_that_is_taken_by_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*a\.png"):
        replace_files(tmp_path, {"a.png": b"1"}, never)
