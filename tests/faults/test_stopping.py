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
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.record import Record
from tests import checkout
from tests.faults.made import (
    MARK,
    PATIENCE_S,
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


def begin(zygote: Zygote, folder: Path, moment: str, arguments: list[str]) -> Command:
    """A grid that waits at this moment."""
    (folder / f"wait-{moment}").touch()
    command = zygote.run(folder, arguments)
    command.wait_for(moment)
    if moment == "starting":  # the worker starts while the command is still planning
        until(lambda: " started" in command.output, lambda: f"never: {command.output}")
    return command


def release(folder: Path) -> None:
    for path in (*folder.glob("wait-*"), *folder.glob("at-*")):
        path.unlink()


def scores(record: Record) -> dict[str, Any]:
    """The parts of a record that do not depend on time."""
    curve = [
        (point.epoch, point.train_loss, point.validation_loss, point.validation_accuracy)
        for point in record.curve
    ]
    metrics = replace(record.metrics, time_to_accuracy_s=None, time_to_accuracy_with_compile_s=None)
    return {"curve": curve, "metrics": msgspec.to_builtins(metrics)}


def stop(command: Command, zygote: Zygote, *stops: int) -> None:
    """Sends signals, and checks that the command ends as interrupted with nothing left."""
    for place, number in enumerate(stops):
        time.sleep(0.2 if place else 0)
        command.send(number)
    check_ended(command, zygote)


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = zygote.run(folder, grid(BOTH))
    assert command.code() == 0, command.problems
    return {name: scores(record) for name, record in records(folder).items()}


def test_a_stop_leaves_a_summary_and_the_command_that_does_the_rest(
    zygote: Zygote, tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    command = begin(zygote, tmp_path, "training", grid(BOTH))
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
    ("moment", "numbers"),
    [
        ("planning", [signal.SIGINT]),
        pytest.param("planning", [signal.SIGTERM], marks=pytest.mark.slow),
        pytest.param("starting", [signal.SIGINT], marks=pytest.mark.slow),
        pytest.param("warming_up", [signal.SIGHUP], marks=pytest.mark.slow),
        ("training", [signal.SIGINT, signal.SIGTERM]),
        pytest.param("evaluating", [signal.SIGTERM], marks=pytest.mark.slow),
    ],
)
def test_a_stop_at_an_awkward_moment(
    zygote: Zygote, tmp_path: Path, moment: str, numbers: list[int]
) -> None:
    command = begin(zygote, tmp_path, moment, grid(ONE))
    stop(command, zygote, *numbers)
    if moment == "planning":
        assert command.problems == "bench: interrupted\n"
        assert statuses(tmp_path) == {}
    else:
        assert statuses(tmp_path) == {ONE: "interrupted"}
        assert command.to_continue() == grid(ONE)


def test_a_terminal_that_is_closed(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "wait-training").touch()
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = zygote.run(tmp_path, grid(ONE), streams=[os.ttyname(terminal)] * 3)

    def has_reached_training() -> bool:
        while select.select([controller], [], [], 0)[0]:
            os.read(controller, 1 << 16)  # as a terminal does
        return (tmp_path / "at-training").exists()

    until(has_reached_training, lambda: "it never trained")
    os.close(terminal)  # only now: while nobody has it open, reading fails
    os.close(controller)
    check_ended(command, zygote)
    assert statuses(tmp_path) == {ONE: "interrupted"}


def test_a_parent_that_is_killed_takes_all_along_and_the_next_call_does_the_rest(
    zygote: Zygote, tmp_path: Path
) -> None:
    arguments = grid(BOTH, pipeline="torchvision[workers=2]")
    command = begin(zygote, tmp_path, "training", arguments)
    command.send(signal.SIGKILL)
    assert command.code() == -signal.SIGKILL
    zygote.check_none_left()
    assert statuses(tmp_path) == {"works": "ok"}
    before = records(tmp_path)
    release(tmp_path)
    rest = zygote.run(tmp_path, arguments)
    assert rest.code() == 0, rest.output + rest.problems
    after = records(tmp_path)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "ok"}
    assert after | before == after
    zygote.check_none_left()


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
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "to continue: bench run" in output
    expected = {"segfaults": "crashed", "works": "ok", "would_halt": "interrupted"}
    assert statuses(copy) == expected
    assert "Fatal Python error" in records(copy)["segfaults"].error.traceback
    until(lambda: not of_mark("real"), lambda: "processes are left")
