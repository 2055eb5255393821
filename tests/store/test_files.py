"""Files are written atomically; system errors become one sentence; names are safe."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.store.files import MANIFEST, StoreError, explained, replace_files, slug, write_atomically


@pytest.mark.parametrize(
    ("trouble", "raised"),
    [
        (OSError(28, "No space left on device"), StoreError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failed_write_leaves_only_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: BaseException,
    raised: type[BaseException],
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise trouble

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_explanation_names_the_file_once() -> None:
    with pytest.raises(StoreError) as caught, explained("read the folder"):
        raise PermissionError(13, "Permission denied", "/some/file")
    advice = "permit it, or name another folder"
    assert str(caught.value) == f"cannot read the folder: Permission denied (/some/file); {advice}"
    with pytest.raises(StoreError) as caught, explained("read /some/file"):
        raise PermissionError(13, "Permission denied", "/some/file")
    assert str(caught.value) == f"cannot read /some/file: Permission denied; {advice}"
    with pytest.raises(StoreError) as caught, explained("read it"):
        raise OSError("as a library says it")
    assert str(caught.value) == "cannot read it: as a library says it"


def test_writers_have_own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, path, used = Path.replace, tmp_path / "matrix.md", []

    def second(temporary: Path, target: Path) -> Path:
        used.append(temporary)
        if len(used) == 1:
            write_atomically(path, b"second")
        return replace(temporary, target)

    monkeypatch.setattr(Path, "replace", second)
    write_atomically(path, b"first")
    assert len(set(used)) == 2
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@given(st.text())
def test_a_slug_is_safe_in_any_path(text: str) -> None:
    found = slug(text)
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not found.startswith("-")
    assert not found.endswith("-")
    assert slug(found) == found


def test_a_slug_keeps_the_given_characters() -> None:
    assert slug("Flip_Crop / Kornia[a=1]") == "flip-crop-kornia-a-1"
    assert slug("Flip_Crop", keep="_") == "flip_crop"


def found(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}


def test_old_files_are_removed_foreign_ones_kept_and_folders_an_error(tmp_path: Path) -> None:
    replace_files(tmp_path, {"old.png": b"ours", "kept.svg": b"ours"})
    (tmp_path / "mine.png").write_bytes(b"mine")
    for _ in range(2):
        replace_files(tmp_path, {"new.png": b"new", "kept.svg": b"again"})
    assert found(tmp_path) == {"mine.png": b"mine", "new.png": b"new", "kept.svg": b"again"}
    (tmp_path / "a.png").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*a\.png"):
        replace_files(tmp_path, {"a.png": b"1"})


@pytest.mark.parametrize("text", ["{", "7", '[["a.png"], 7]', '["../a.png", "/a.png"]'])
def test_a_damaged_list_of_files_removes_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    folder = tmp_path / "report"
    replace_files(folder, {"a.png": b"1"})
    (folder / MANIFEST).write_text(text)
    replace_files(folder, {"b.png": b"2"})
    assert found(folder) == {"a.png": b"1", "b.png": b"2"}
    assert (tmp_path / "a.png").exists()
