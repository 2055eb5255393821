"""`run_isolated` fails if its work does what it must not."""

import os
import pickle
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.fuzzing import GIB, run_isolated


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda: Path("/tmp/outside-of-the-fence").write_text("x"), "Forbidden: open"),
        (lambda: pickle.loads(pickle.dumps(print)), "Forbidden: pickle.find_class"),
        (lambda: socket.create_connection(("127.0.0.1", 9)), "Forbidden: socket.connect"),
        (lambda: subprocess.run(["true"], check=False), "Forbidden: subprocess.Popen"),
        (lambda: bytearray(2 * GIB), "MemoryError"),
        (lambda: time.sleep(99), r"Timeout \(0:00:01\)![^?]*test_fuzzing.py"),
        (lambda: os.kill(os.getpid(), 9), "ended with status"),
    ],
)
def test_forbidden_work_fails_with_its_reason(work: Callable[[], object], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        run_isolated(work, seconds=1.0 if "Timeout" in reason else 60.0)


def test_only_the_given_folders_are_written_and_not_through_links(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("keep")
    inside.mkdir()
    (inside / "link").symlink_to(outside)

    def write(name: str) -> None:
        (inside / name).write_text("new")

    with pytest.raises(AssertionError, match="Forbidden: open"):
        run_isolated(lambda: write("link"), writes=[inside])
    assert outside.read_text() == "keep"
    run_isolated(lambda: write("file"), writes=[inside])
    assert (inside / "file").read_text() == "new"
