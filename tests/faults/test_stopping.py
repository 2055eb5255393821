"""Faults 8 to 10 and 28: a grid that is stopped, however and whenever, loses nothing but time.

In every test the worker has started processes of its own, one of them in a session of its own, and
none may be left ten seconds later.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.record import Record, encode
from tests import checkout
from tests.faults.made import GONE_S, Command, Zygote, grid, records, until
from tests.made import made_record

NETS = "works or would_halt"


def begin(zygote: Zygote, folder: Path, moment: str, *more: str, **how: Any) -> Command:
    """A grid of two nets that waits in a moment of its second run; or slowly, in a moment of it."""
    folder.mkdir(exist_ok=True)
    (folder / f"wait-{moment}").touch()
    command = zygote.run(folder, grid(NETS, *more, **how))
    command.wait_for(moment)
    return command


def check_ended(command: Command, zygote: Zygote, since: float, code: int = 130) -> None:
    """It ended in time, with this exit code and without a stack trace, and nothing is left."""
    assert command.code() == code, command.output + command.problems
    assert time.monotonic() - since < GONE_S
    zygote.check_none_left(since)
    assert not [line for line in command.said if "Traceback" in line or "Exception" in line]


def statuses(folder: Path) -> dict[str, str]:
    return {name: record.status for name, record in records(folder).items()}


def release(folder: Path) -> None:
    """Nothing waits from here on."""
    for path in (*folder.glob("wait-*"), *folder.glob("slow-*"), *folder.glob("at-*")):
        path.unlink()


def figures(record: Record) -> dict[str, Any]:
    """All of a record that does not depend on the time it took."""
    curve = [
        (point.epoch, point.train_loss, point.validation_loss, point.validation_accuracy)
        for point in record.curve
    ]
    assert record.metrics is not None
    scores = replace(record.metrics, time_to_accuracy_s=None, time_to_accuracy_with_compile_s=None)
    return {"curve": curve, "metrics": msgspec.to_builtins(scores)}


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = zygote.run(folder, grid(NETS))
    assert command.code() == 0, command.problems
    return {name: figures(record) for name, record in records(folder).items()}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_8_and_28_a_stop_leaves_a_summary_and_the_command_that_does_the_rest(
    zygote: Zygote, tmp_path: Path, uninterrupted: dict[str, Any], stop: int
) -> None:
    command = begin(zygote, tmp_path, "training")
    since = time.monotonic()
    command.send(stop)
    check_ended(command, zygote, since)
    before = records(tmp_path)
    assert {name: record.status for name, record in before.items()} == {
        "works": "ok",
        "would_halt": "interrupted",
    }
    assert len(before["would_halt"].curve) == 1
    assert "2 runs: 1 ok, 1 interrupted" in command.output
    (table,) = tmp_path.glob("results/*/matrix.md")
    assert "interrupted" in table.read_text()

    release(tmp_path)
    rest = zygote.run(tmp_path, command.to_go_on())
    assert rest.code() == 0, rest.problems
    after = records(tmp_path)
    assert after["works"] == before["works"]
    assert after["would_halt"].attempt == 2
    assert {name: figures(record) for name, record in after.items()} == uninterrupted


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("planning", {}),
        ("starting", {"works": "interrupted"}),
        ("warming_up", {"works": "ok", "would_halt": "interrupted"}),
        ("evaluating", {"works": "ok", "would_halt": "interrupted"}),
    ],
)
def test_8_a_stop_at_an_awkward_moment(
    zygote: Zygote, tmp_path: Path, moment: str, left: dict[str, str]
) -> None:
    command = begin(zygote, tmp_path, moment)
    since = time.monotonic()
    command.send(signal.SIGTERM)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == left


def test_8_a_stop_while_a_record_is_written_comes_after_it(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "slow-writing").touch()
    command = zygote.run(tmp_path, grid(NETS))
    command.wait_for("writing")
    since = time.monotonic()
    command.send(signal.SIGINT)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {"works": "ok"}
    assert "1 runs are left" in command.output


def test_9_a_second_stop_while_tables_are_made_skips_them(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "slow-deriving").touch()
    command = begin(zygote, tmp_path, "training")
    since = time.monotonic()
    command.send(signal.SIGINT)
    command.wait_for("deriving")
    command.send(signal.SIGINT)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "interrupted"}
    assert "the tables are not up to date" in command.output
    assert command.to_go_on() == grid(NETS)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_9_two_stops_at_once_end_it_as_one_does(
    zygote: Zygote, tmp_path: Path, second: int
) -> None:
    command = begin(zygote, tmp_path, "training")
    since = time.monotonic()
    command.send(signal.SIGINT)
    time.sleep(0.2)
    command.send(second)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "interrupted"}
    assert command.to_go_on() == grid(NETS)


def test_9_a_terminal_that_is_closed(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "wait-training").touch()
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = zygote.run(tmp_path, grid(NETS), streams=[os.ttyname(terminal)] * 3)
    os.close(terminal)
    with draining(controller):
        command.wait_for("training")
    since = time.monotonic()
    os.close(controller)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "interrupted"}


@contextmanager
def draining(descriptor: int) -> Iterator[None]:
    """Reads what comes, as a terminal does."""
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            if select.select([descriptor], [], [], 0.05)[0]:
                os.read(descriptor, 1 << 16)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def test_9_a_worker_that_was_stopped_by_sigstop_ends_too(zygote: Zygote, tmp_path: Path) -> None:
    command = begin(zygote, tmp_path, "training")
    os.killpg(int((tmp_path / "at-training").read_text()), signal.SIGSTOP)
    since = time.monotonic()
    command.send(signal.SIGINT)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "interrupted"}


@pytest.mark.parametrize(
    ("moment", "pipeline"),
    [("starting", "kornia"), ("training", "torchvision[workers=2]"), ("writing", "kornia")],
)
def test_10_a_parent_that_is_killed_takes_all_along_and_the_next_call_does_the_rest(
    zygote: Zygote, tmp_path: Path, moment: str, pipeline: str
) -> None:
    if moment == "writing":
        (tmp_path / "slow-writing").touch()
    command = begin(zygote, tmp_path, moment, pipeline=pipeline)
    since = time.monotonic()
    command.send(signal.SIGKILL)
    assert command.code() == -signal.SIGKILL
    zygote.check_none_left(since)
    assert statuses(tmp_path) == ({"works": "ok"} if moment == "training" else {})
    before = records(tmp_path)
    release(tmp_path)
    rest = zygote.run(tmp_path, grid(NETS, pipeline=pipeline))
    assert rest.code() == 0, rest.output + rest.problems
    after = records(tmp_path)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "ok"}
    assert after | before == after
    zygote.check_none_left(time.monotonic())


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


def test_9_a_reader_that_goes_away_stops_the_grid_in_order(
    zygote: Zygote, tmp_path: Path, pipe: tuple[Path, int]
) -> None:
    path, reader = pipe
    command = zygote.run(tmp_path, grid(NETS), streams=through(path, tmp_path))
    until(lambda: bool(readable(reader)), lambda: "it said nothing")
    assert b"2 to run" in os.read(reader, 4096)  # as `| head -1`
    os.close(reader)
    assert command.code() == 130, command.problems
    zygote.check_none_left(time.monotonic())
    assert "Traceback" not in command.problems
    assert command.to_go_on() == grid(NETS)
    before = records(tmp_path)
    rest = zygote.run(tmp_path, command.to_go_on())
    assert rest.code() == 0
    done = {name: record for name, record in before.items() if record.status == "ok"}
    assert records(tmp_path) | done == records(tmp_path)


def test_9_a_reader_that_does_not_read_holds_up_no_stop(
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "--grid", "nosuch"], 2, "nosuch"),
        (["run", "--epochs", "0"], 2, "--epochs is at least 1"),
        (["run", "--no-such-option"], 2, "No such option"),
        (["table", "nowhere"], 2, "nowhere"),
    ],
)
def test_exit_codes_of_wrong_usage(
    zygote: Zygote, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    command = zygote.run(tmp_path, arguments)
    assert command.code() == code
    assert said in command.problems
    assert "Traceback" not in command.problems
    assert not (tmp_path / "results").exists()


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
