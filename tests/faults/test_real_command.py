"""A crash and Ctrl-C with the real command, in which every process starts Python anew."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests import checkout
from tests.faults.made import MARK, grid, make_copy, of_mark, statuses, until


@pytest.mark.slow
def test_a_crash_and_ctrl_c_in_a_real_grid(tmp_path: Path) -> None:
    copy = make_copy(tmp_path / "copy")
    line, environment = checkout.command(copy, *grid("segfaults or works or would_halt"))
    (copy / "wait-training").touch()
    process = subprocess.Popen(
        line, cwd=copy, env={**environment, MARK: "real"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until((copy / "at-training").exists, lambda: "it never came to the net that waits")
        assert len(of_mark("real")) >= 5  # command, worker, guard, and two that the net started
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "to continue: bench run" in output
    expected = {"segfaults": "crashed", "works": "ok", "would_halt": "interrupted"}
    assert statuses(copy) == expected
    until(lambda: not of_mark("real"), lambda: "processes are left")
