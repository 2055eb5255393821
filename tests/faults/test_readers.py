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

from bench.store.codec import encode
from tests import checkout
from tests.faults.made import Zygote, check_ended, grid, statuses, until
from tests.made import made_record


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A pipe with little room, by name, and the end to read from."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    yield path, reader
    with suppress(OSError):  # a test may have closed it
        os.close(reader)


def through(path: Path, folder: Path) -> list[str]:
    """Streams with standard output in a pipe."""
    return [os.devnull, str(path), str(folder / "problems")]


def test_a_reader_that_goes_away_stops_the_grid_in_order(
    zygote: Zygote, tmp_path: Path, pipe: tuple[Path, int]
) -> None:
    path, reader = pipe
    both = grid("works or raises")
    command = zygote.run(tmp_path, both, streams=through(path, tmp_path))
    until(lambda: bool(readable(reader)), lambda: "it said nothing")
    assert b"2 to run" in os.read(reader, 4096)  # as `| head -1`
    os.close(reader)
    assert command.code() == 130, command.problems
    zygote.check_none_left(time.monotonic())
    assert "Traceback" not in command.problems
    # That the first begins may lie in the pipe already; the next line comes with its result.
    assert len(statuses(tmp_path)) == 1
    assert command.to_go_on() == both


def test_a_reader_that_goes_away_stops_a_run_in_the_middle(
    zygote: Zygote, tmp_path: Path, pipe: tuple[Path, int]
) -> None:
    path, reader = pipe
    arguments = grid("works", "--progress", "json", epochs=30)  # a line with every epoch
    command = zygote.run(tmp_path, arguments, streams=through(path, tmp_path))
    until(lambda: bool(readable(reader)), lambda: "it said nothing")
    assert b'"plan"' in os.read(reader, 4096)
    os.close(reader)
    assert command.code() == 130, command.problems
    zygote.check_none_left(time.monotonic())
    assert "Traceback" not in command.problems
    assert statuses(tmp_path) == {"works": "interrupted"}


def test_a_reader_that_does_not_read_holds_up_no_stop(
    zygote: Zygote, tmp_path: Path, pipe: tuple[Path, int]
) -> None:
    path, _ = pipe
    arguments = grid("works", "--progress", "json", epochs=30)
    command = zygote.run(tmp_path, arguments, streams=through(path, tmp_path))
    until(lambda: stuck(command.pid), lambda: "the pipe never was full")
    since = time.monotonic()
    command.send(signal.SIGTERM)
    check_ended(command, zygote, since)
    assert set(statuses(tmp_path)) == {"works"}


def readable(descriptor: int) -> int:
    """Bytes that wait in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"    "))[0])


def stuck(pid: int) -> bool:
    """Whether a process waits for room in a pipe."""
    return Path(f"/proc/{pid}/wchan").read_text() in ("pipe_write", "anon_pipe_write")


def test_a_table_whose_reader_is_gone_ends_without_a_stack_trace(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "group" / "records"
    folder.mkdir(parents=True)
    record = made_record()
    (folder / f"{record.run_id}.json").write_bytes(encode(record))
    line, environment = checkout.command(checkout.ROOT, "table", str(tmp_path / "results"))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""
    assert list(folder.glob("*.json"))


def test_a_disk_that_is_full_under_the_output_is_one_sentence(tmp_path: Path) -> None:
    line, environment = checkout.command(checkout.ROOT, "list", "grids")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    said = b"bench: the output cannot be written: No space left on device; write it elsewhere\n"
    assert done.stderr == said
