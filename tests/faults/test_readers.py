"""Output that nobody reads, or that cannot be written."""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from tests import checkout
from tests.faults.made import Start, grid, statuses, until
from tests.made import made_record, write_records


def is_stuck(pid: int) -> bool:
    return Path(f"/proc/{pid}/wchan").read_text() in ("pipe_write", "anon_pipe_write")


@pytest.mark.slow
def test_a_stop_works_although_nobody_reads_the_output(start: Start, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as reader:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        arguments = grid("works", "--progress", "json", epochs=30)
        streams = [os.devnull, str(pipe), str(tmp_path / "problems")]
        command = start(tmp_path, arguments, streams)
        until(lambda: is_stuck(command.process.pid), lambda: "the pipe was never full")
        command.process.send_signal(signal.SIGTERM)
        command.check_interrupted()
    assert set(statuses(tmp_path)) == {"works"}


def test_output_without_a_reader_or_to_a_full_disk_gives_no_stack_trace(tmp_path: Path) -> None:
    write_records(tmp_path / "results" / "group", [made_record()])
    reader, writer = os.pipe()
    os.close(reader)
    done = checkout.bench(checkout.ROOT, "table", str(tmp_path / "results"), stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
    with Path("/dev/full").open("wb") as full:
        done = checkout.bench(checkout.ROOT, "list", "grids", stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr.startswith("bench: the output cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1
