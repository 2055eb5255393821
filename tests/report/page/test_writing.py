"""Text between markers: all else stays as it is, and what cannot be done is said."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.report.page.writing import insert
from bench.store.files import StoreError

OPENING, CLOSING = "<!-- bench:conclusions -->", "<!-- /bench:conclusions -->"


def readme(folder: Path, *lines: str) -> Path:
    path = folder / "README.md"
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


def test_text_stands_between_the_markers_and_the_rest_stays(tmp_path: Path) -> None:
    path = readme(tmp_path, "# Title", OPENING, "old", CLOSING, f"see `{OPENING}`")
    assert insert(path, "conclusions", "- new\n")
    assert path.read_text() == f"# Title\n{OPENING}\n\n- new\n\n{CLOSING}\nsee `{OPENING}`\n"
    assert sorted(tmp_path.iterdir()) == [path]


def test_the_same_text_again_changes_nothing(tmp_path: Path) -> None:
    path = readme(tmp_path, OPENING, CLOSING)
    assert insert(path, "conclusions", "- new\n")
    before = path.stat()
    assert not insert(path, "conclusions", "- new")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@given(
    before=st.text("ab\n <-!", max_size=20),
    after=st.text("ab\n <-!", max_size=20),
    text=st.text("xy\n #", max_size=20),
)
def test_what_is_outside_is_never_touched(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, text: str
) -> None:
    path = readme(tmp_path_factory.mktemp("any"), before, OPENING, "old", CLOSING, after)
    insert(path, "conclusions", text)
    found = path.read_text()
    assert found.startswith(f"{before}\n{OPENING}\n")
    assert found.endswith(f"\n{CLOSING}\n{after}\n")
    inside = found[len(before) + len(OPENING) + 2 : -len(CLOSING) - len(after) - 2]
    assert inside.strip("\n") == text.strip("\n")


def test_other_names_and_windows_line_ends_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    other = b"<!-- bench:matrix -->\r\nx\r\n<!-- /bench:matrix -->\r\n"
    path.write_bytes(other + f"{OPENING}\r\n{CLOSING}".encode())
    insert(path, "conclusions", "- a\n- b")
    assert path.read_bytes() == other + f"{OPENING}\r\n\r\n- a\r\n- b\r\n\r\n{CLOSING}".encode()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path = readme(tmp_path, OPENING, CLOSING)
    link = tmp_path / "link.md"
    link.symlink_to(path)
    insert(link, "conclusions", "- new")
    assert link.is_symlink()
    assert "- new" in path.read_text()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["nothing"], f"lacks {OPENING} and {CLOSING}"),
        ([OPENING], f"lacks {CLOSING}"),
        ([CLOSING], f"lacks {OPENING}"),
        ([CLOSING, OPENING], f"{CLOSING} before {OPENING}"),
        ([OPENING, CLOSING, "x", OPENING, CLOSING], f"{OPENING} more than once, in lines 1, 4"),
    ],
)
def test_wrong_markers_are_told_and_nothing_is_written(
    tmp_path: Path, lines: list[str], told: str
) -> None:
    path = readme(tmp_path, *lines)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="README") as error:
        insert(path, "conclusions", "new")
    assert told in str(error.value)
    assert path.read_bytes() == before


def test_a_text_with_the_marker_is_refused(tmp_path: Path) -> None:
    path = readme(tmp_path, OPENING, CLOSING)
    with pytest.raises(UsageError, match="itself"):
        insert(path, "conclusions", f"a\n{CLOSING}\nb")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        insert(tmp_path / "none.md", "conclusions", "new")
    path = tmp_path / "picture.png"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        insert(path, "conclusions", "new")
