"""Downloads: what is whole and right is kept, what hangs or lies costs seconds."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources import download
from pipelines.sources.download import RemoteFile, fetch, md5_of
from pipelines.sources.errors import AttemptFailed, SourceError
from tests.mirror import Mirror, refused, serve

CONTENT = np.random.default_rng(0).bytes(300_000)
GIVE_UP_S = 15.0


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(download, "ANSWER_S", 0.5)
    monkeypatch.setattr(download, "STALL_S", 0.3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(CONTENT) as mirror:
        yield mirror


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> RemoteFile:
    path = tmp_path_factory.mktemp("wanted") / "file"
    path.write_bytes(CONTENT)
    return RemoteFile(name="file", size=len(CONTENT), md5=md5_of(path))


def attempt(mirror: Mirror, wanted: RemoteFile, folder: Path, *manners: str) -> list[str]:
    """Fetches from mirrors that behave in these ways; returns what was reported."""
    messages: list[str] = []
    urls = [f"{mirror.url}/{manner}/file" for manner in manners]
    path = fetch(wanted, urls, folder, messages.append)
    assert path.read_bytes() == CONTENT
    return messages


@pytest.mark.parametrize("manner", ["ok", "whole"])
def test_a_good_mirror_gives_the_file(
    mirror: Mirror, wanted: RemoteFile, tmp_path: Path, manner: str
) -> None:
    messages = attempt(mirror, wanted, tmp_path, manner)
    assert "127.0.0.1" in messages[0]
    assert mirror.downloads(manner) == [""]
    attempt(mirror, wanted, tmp_path, manner)
    assert mirror.downloads(manner) == [""], "what is there is not fetched again"


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("wrong", "another checksum"),
        ("cut", "broke off"),
        ("page", "bytes instead of"),
        ("endless", "more than"),
        ("gone", "HTTP status 404"),
        ("silent", "no answer in"),
        ("stalls", "stopped answering"),
        ("drips", "it gave"),
        ("header", "it stopped answering"),
        ("slams", "reset"),
        ("resets", "reset|broke off"),
        ("circles", "it redirects in a circle"),
        ("leaves", "HTTP status 302"),
        ("nowhere", "Invalid IPv6 URL"),
        ("html", "it gives a web page instead of the file"),
        ("garbage", r"\?\[2J\?no HTTP at all"),
    ],
)
def test_a_bad_mirror_is_named_and_another_one_gives_the_file(
    mirror: Mirror, wanted: RemoteFile, tmp_path: Path, manner: str, reason: str
) -> None:
    start = time.monotonic()
    with pytest.raises(AttemptFailed, match=reason) as failure:
        attempt(mirror, wanted, tmp_path, manner)
    assert "127.0.0.1" in str(failure.value)
    assert str(failure.value).isprintable()
    attempt(mirror, wanted, tmp_path, "ok")
    assert time.monotonic() - start < GIVE_UP_S


def test_mirrors_with_the_same_fault_are_named_together(wanted: RemoteFile, tmp_path: Path) -> None:
    hosts = [refused(), refused()]
    with pytest.raises(AttemptFailed) as failure:
        fetch(wanted, [f"{host}/file" for host in hosts], tmp_path, print)
    assert str(failure.value).count("refused") == 1
    for host in hosts:
        assert host.removeprefix("http://") in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_silent_mirrors_are_waited_for_at_once(
    mirror: Mirror, wanted: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ANSWER_S", 1.0)
    urls = [f"{mirror.url}/silent/{number}" for number in range(20)]
    start = time.monotonic()
    with pytest.raises(AttemptFailed, match=r"no answer|stopped answering"):
        fetch(wanted, urls, tmp_path, print)
    assert time.monotonic() - start < GIVE_UP_S < 20


@pytest.mark.parametrize("first", ["stalls", "cut"])
def test_a_download_resumes(mirror: Mirror, wanted: RemoteFile, tmp_path: Path, first: str) -> None:
    with pytest.raises(AttemptFailed):
        attempt(mirror, wanted, tmp_path, first)
    messages = attempt(mirror, wanted, tmp_path, "ok")
    assert mirror.downloads("ok") == [f"bytes={len(CONTENT) // 2}-"]
    assert "going on" in messages[0]


@pytest.mark.parametrize(
    ("part", "manner", "downloads", "message"),
    [
        (CONTENT[:1000], "whole", ["bytes=1000-"], "starting"),
        (b"x" * 1000, "ok", ["bytes=1000-", ""], "starting again"),
        (bytes(len(CONTENT)), "ok", [""], ""),
        (bytes(len(CONTENT) + 1), "ok", [""], ""),
    ],
    ids=["the mirror has no ranges", "of another file", "as large", "larger"],
)
def test_a_part_that_cannot_be_used_is_thrown_away(
    mirror: Mirror,
    wanted: RemoteFile,
    tmp_path: Path,
    part: bytes,
    manner: str,
    downloads: list[str],
    message: str,
) -> None:
    (tmp_path / "file.part").write_bytes(part)
    messages = attempt(mirror, wanted, tmp_path, manner)
    assert any(message in line for line in messages)
    assert mirror.downloads(manner) == downloads


def test_a_full_disk_is_an_error(mirror: Mirror, wanted: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(SourceError, match=r"No space left on device.*--data-dir"):
        fetch(wanted, [f"{mirror.url}/ok/file"], tmp_path, print)
