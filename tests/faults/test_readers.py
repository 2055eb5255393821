"""Output into a pipe whose reader goes away, or does not read."""

import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import checkout
from tests.faults.made import Zygote, check_ended, grid, statuses, until
from tests.made import made_record, write_records


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe with little room, and its end for reading."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    yield path, reader
    with suppress(OSError):  # the test has closed it
        os.close(reader)


def through(path: Path, folder: Path) -> list[str]:
    """Standard streams whose output goes to the pipe."""
    return [os.devnull, str(path), str(folder / "problems")]


def readable(descriptor: int) -> int:
    """Number of bytes that wait in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"    "))[0])


def is_stuck(pid: int) -> bool:
    """Whether a process waits for room in a pipe."""
    return Path(f"/proc/{pid}/wchan").read_text() in ("pipe_write", "anon_pipe_write")


def test_a_reader_that_goes_away_stops_the_grid_in_order(
    zygote: Zygote, tmp_path: Path, pipe: tuple[Path, int]
) -> None:
    path, reader = pipe
    both = grid("works or raises")
    command = zygote.run(tmp_path, both, streams=through(path, tmp_path))
    text = b""
    while b" started" not in text:
        until(lambda: readable(reader), lambda: "it said nothing")
        text += os.read(reader, 4096)
    os.close(reader)
    assert command.code() == 130, command.problems
    zygote.check_none_left(time.monotonic())
    assert "Traceback" not in command.problems
    # The next line comes with the result of the first run.
    assert len(statuses(tmp_path)) == 1
    assert command.to_continue() == both


def test_a_reader_that_does_not_read_holds_up_no_stop(
    zygote: Zygote, tmp_path: Path, pipe: tuple[Path, int]
) -> None:
    path, _ = pipe
    arguments = grid("works", "--progress", "json", epochs=30)
    command = zygote.run(tmp_path, arguments, streams=through(path, tmp_path))
    until(lambda: is_stuck(command.pid), lambda: "the pipe never was full")
    since = time.monotonic()
    command.send(signal.SIGTERM)
    check_ended(command, zygote, since)
    assert set(statuses(tmp_path)) == {"works"}


def run(tmp_path: Path, output: int, *words: str) -> "subprocess.CompletedProcess[bytes]":
    line, environment = checkout.command(checkout.ROOT, *words)
    return subprocess.run(
        line, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.PIPE, check=False
    )


def test_a_table_whose_reader_is_gone_ends_without_a_stack_trace(tmp_path: Path) -> None:
    write_records(tmp_path / "results" / "group", [made_record()])
    reader, writer = os.pipe()
    os.close(reader)
    done = run(tmp_path, writer, "table", str(tmp_path / "results"))
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_output_to_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(tmp_path, full.fileno(), "list", "grids")
    assert done.returncode == 2
    assert done.stderr.startswith(b"bench: the output cannot be written: No space left on device")
    assert done.stderr.count(b"\n") == 1
