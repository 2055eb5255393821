"""`run_isolated` catches what its work must not do."""

import os
import pickle
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.fuzzing import GIB, run_isolated


class Canary:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("true",)


def connect() -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: Path("/tmp/outside-of-the-fence").write_text("x"), "Forbidden: open"),
        (lambda: pickle.loads(pickle.dumps(Canary())), "Forbidden: pickle.find_class"),
        (connect, "Forbidden: socket.connect"),
        (lambda: subprocess.run(["true"], check=False), "Forbidden: subprocess.Popen"),
        (lambda: bytearray(2 * GIB), "MemoryError"),
        (lambda: time.sleep(99), r"Timeout \(0:00:01\)![^?]*test_fuzzing.py"),
        (lambda: os.kill(os.getpid(), 9), "ended with status"),
    ],
)
def test_what_the_work_must_not_do_fails(work: Callable[[], None], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        run_isolated(work, seconds=1.0 if "Timeout" in said else 60.0)


def test_files_are_written_in_the_given_folders_alone_and_not_through_links(tmp_path: Path) -> None:
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
