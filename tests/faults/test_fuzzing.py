"""The fence around what the fuzzing tries holds: each way out of it is tried once."""

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
        (lambda: Path("/tmp").joinpath("outside-of-the-fence").mkdir(), "Forbidden: os.mkdir"),
        (lambda: pickle.loads(pickle.dumps(Canary())), "Forbidden: pickle.find_class"),
        (connect, "Forbidden: socket.connect"),
        (lambda: subprocess.run(["true"], check=False), "Forbidden: subprocess.Popen"),
        (lambda: bytearray(2 * GIB), "MemoryError"),
        (lambda: time.sleep(99), r"Timeout \(0:00:01\)![^?]*test_fuzzing.py"),
        (lambda: os.kill(os.getpid(), 9), "ended with status"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_must_not_be_is_caught(work: Callable[[], None], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        run_isolated(work, seconds=1.0)


def test_a_link_is_no_way_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("keep")
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    with pytest.raises(AssertionError, match="Forbidden: open"):
        run_isolated(lambda: (inside / "link").write_text("gone"), writes=[inside])  # type: ignore[arg-type,return-value]
    assert outside.read_text() == "keep"


def test_what_may_be_is_left_alone(tmp_path: Path) -> None:
    run_isolated(lambda: (tmp_path / "file").write_text("x"), writes=[tmp_path])  # type: ignore[arg-type,return-value]
    assert (tmp_path / "file").read_text() == "x"
