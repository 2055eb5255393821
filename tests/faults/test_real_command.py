"""A crash and Ctrl-C with the real command, every process a Python of its own."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import checkout
from tests.faults.made import MARK, grid, make_copy, of_mark, statuses, until

pytestmark = pytest.mark.slow

NETS = "segfaults or works or would_halt"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_copy(tmp_path_factory.mktemp("copy"))


def test_a_crash_and_ctrl_c_in_a_real_grid(copy: Path) -> None:
    line, environment = checkout.command(copy, *grid(NETS))
    (copy / "wait-training").touch()
    process = subprocess.Popen(
        line,
        cwd=copy,
        env={**environment, MARK: "real"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until((copy / "at-training").exists, lambda: "it never got to the net that waits")
        assert len(of_mark("real")) >= 5  # command, worker, guard, and two of the net's
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "to continue: bench run" in output
    assert statuses(copy) == {
        "segfaults": "crashed",
        "works": "ok",
        "would_halt": "interrupted",
    }
    deadline = time.monotonic() + 10
    while of_mark("real"):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.05)
