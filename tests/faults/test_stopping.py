"""A grid that is stopped, however and whenever, loses nothing but time.

The worker has started processes, one of them in a session of its own; none may be left.
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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.record import Record
from tests import checkout
from tests.faults.made import (
    MARK,
    Command,
    Zygote,
    check_ended,
    grid,
    make_copy,
    of_mark,
    records,
    statuses,
    until,
)

BOTH = "works or would_halt"
ONE = "would_halt"


def begin(
    zygote: Zygote, folder: Path, moment: str, nets: str = ONE, pipeline: str = "kornia"
) -> Command:
    """A grid that waits at this moment."""
    (folder / f"wait-{moment}").touch()
    command = zygote.run(folder, grid(nets, pipeline=pipeline))
    command.wait_for(moment)
    if moment == "starting":  # the worker starts while the command is still planning
        until(lambda: " started" in command.output, lambda: f"never: {command.output}")
    return command


def release(folder: Path) -> None:
    for path in (*folder.glob("wait-*"), *folder.glob("slow-*"), *folder.glob("at-*")):
        path.unlink()


def scores(record: Record) -> dict[str, Any]:
    """The parts of a record that do not depend on time."""
    curve = [
        (point.epoch, point.train_loss, point.validation_loss, point.validation_accuracy)
        for point in record.curve
    ]
    assert record.metrics is not None
    metrics = replace(record.metrics, time_to_accuracy_s=None, time_to_accuracy_with_compile_s=None)
    return {"curve": curve, "metrics": msgspec.to_builtins(metrics)}


def stop(command: Command, zygote: Zygote, *stops: int) -> None:
    """Sends signals, and checks that the command ends as interrupted with nothing left."""
    since = time.monotonic()
    for place, number in enumerate(stops):
        time.sleep(0.2 if place else 0)
        command.send(number)
    check_ended(command, zygote, since)


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = zygote.run(folder, grid(BOTH))
    assert command.code() == 0, command.problems
    return {name: scores(record) for name, record in records(folder).items()}


def test_a_stop_leaves_a_summary_and_the_command_that_does_the_rest(
    zygote: Zygote, tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    command = begin(zygote, tmp_path, "training", BOTH)
    stop(command, zygote, signal.SIGINT)
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
    rest = zygote.run(tmp_path, command.to_continue())
    assert rest.code() == 0, rest.problems
    after = records(tmp_path)
    assert after["works"] == before["works"]
    assert after["would_halt"].attempt == 2
    assert {name: scores(record) for name, record in after.items()} == uninterrupted


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "planning"),
        pytest.param(signal.SIGTERM, "planning", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "starting", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "warming_up", marks=pytest.mark.slow),
        (signal.SIGTERM, "training"),
        pytest.param(signal.SIGTERM, "evaluating", marks=pytest.mark.slow),
    ],
)
def test_a_stop_at_an_awkward_moment(
    zygote: Zygote, tmp_path: Path, number: int, moment: str
) -> None:
    command = begin(zygote, tmp_path, moment)
    stop(command, zygote, number)
    if moment == "planning":
        assert command.problems == "bench: interrupted\n"
        assert statuses(tmp_path) == {}
    else:
        assert statuses(tmp_path) == {ONE: "interrupted"}
        assert command.to_continue() == grid(ONE)


def test_a_second_stop_while_tables_are_made_skips_them(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "slow-deriving").touch()
    command = begin(zygote, tmp_path, "training")
    since = time.monotonic()
    command.send(signal.SIGINT)
    command.wait_for("deriving")
    command.send(signal.SIGINT)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {ONE: "interrupted"}
    assert "the tables are not up to date" in command.output
    assert command.to_continue() == grid(ONE)


def test_two_stops_at_once_end_it_as_one_does(zygote: Zygote, tmp_path: Path) -> None:
    command = begin(zygote, tmp_path, "training")
    stop(command, zygote, signal.SIGINT, signal.SIGTERM)
    assert statuses(tmp_path) == {ONE: "interrupted"}
    assert command.to_continue() == grid(ONE)


def test_a_terminal_that_is_closed(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "wait-training").touch()
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = zygote.run(tmp_path, grid(ONE), streams=[os.ttyname(terminal)] * 3)
    with draining(controller):
        command.wait_for("training")
    os.close(terminal)  # only now: while nobody has it open, reading fails
    since = time.monotonic()
    os.close(controller)
    check_ended(command, zygote, since)
    assert statuses(tmp_path) == {ONE: "interrupted"}


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


@pytest.mark.parametrize(
    ("moment", "nets", "pipeline"),
    [
        pytest.param("starting", "works", "kornia", marks=pytest.mark.slow),
        ("training", BOTH, "torchvision[workers=2]"),
        pytest.param("writing", "works", "kornia", marks=pytest.mark.slow),
    ],
)
def test_a_parent_that_is_killed_takes_all_along_and_the_next_call_does_the_rest(
    zygote: Zygote, tmp_path: Path, moment: str, nets: str, pipeline: str
) -> None:
    if moment == "writing":
        (tmp_path / "slow-writing").touch()
    command = begin(zygote, tmp_path, moment, nets, pipeline)
    since = time.monotonic()
    command.send(signal.SIGKILL)
    assert command.code() == -signal.SIGKILL
    zygote.check_none_left(since)
    assert statuses(tmp_path) == ({"works": "ok"} if moment == "training" else {})
    before = records(tmp_path)
    release(tmp_path)
    rest = zygote.run(tmp_path, grid(nets, pipeline=pipeline))
    assert rest.code() == 0, rest.output + rest.problems
    after = records(tmp_path)
    assert statuses(tmp_path) == dict.fromkeys(nets.split(" or "), "ok")
    assert after | before == after
    zygote.check_none_left(time.monotonic())


@pytest.mark.slow
def test_a_crash_and_ctrl_c_where_every_process_starts_python_anew(tmp_path: Path) -> None:
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
