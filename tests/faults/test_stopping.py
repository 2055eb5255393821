"""A grid that is stopped in any way loses nothing but time and leaves no process."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.record import Record
from tests.faults.made import Command, Start, grid, of_mark, records, statuses, until

BOTH = "works or would_halt"
ONE = "would_halt"


def begin(start: Start, folder: Path, moment: str, arguments: list[str]) -> Command:
    """A grid that waits at this moment."""
    (folder / f"wait-{moment}").touch()
    command = start(folder, arguments)
    command.wait_for(moment)
    if moment == "starting":  # the worker starts while the command is still planning
        until(lambda: " started" in command.output, lambda: f"no run started: {command.output}")
    return command


def stop(command: Command, *stops: int) -> None:
    """Sends signals, and checks that the command ends as interrupted with nothing left."""
    for place, number in enumerate(stops):
        time.sleep(0.2 if place else 0)
        command.process.send_signal(number)
    command.check_interrupted()


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


@pytest.mark.slow
def test_a_stop_leaves_a_summary_and_a_way_to_continue(start: Start, tmp_path: Path) -> None:
    names = f"segfaults or {BOTH}"
    command = begin(start, tmp_path, "training", grid(names))
    assert len(of_mark(command.mark)) >= 5  # command, worker, guard, and two that the net started
    stop(command, signal.SIGINT)
    before = records(tmp_path)
    assert statuses(tmp_path) == {
        "segfaults": "crashed", "works": "ok", "would_halt": "interrupted",
    }  # fmt: skip
    assert "Fatal Python error" in before["segfaults"].error.traceback
    assert len(before["would_halt"].curve) == 1
    assert "3 runs: 1 ok, 1 crashed, 1 interrupted" in command.output
    (table,) = tmp_path.glob("results/*/matrix.md")
    assert "interrupted" in table.read_text()

    release(tmp_path)
    assert start(tmp_path, command.to_continue()).code() == 1  # one has crashed
    after = records(tmp_path)
    assert after["works"] == before["works"]
    assert after["would_halt"].attempt == 2
    uninterrupted = start(tmp_path / "another", grid(BOTH))
    assert uninterrupted.code() == 0, uninterrupted.problems
    for name, record in records(uninterrupted.folder).items():
        assert scores(after[name]) == scores(record)


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
def test_stops_at_any_moment(start: Start, tmp_path: Path, moment: str, numbers: list[int]) -> None:
    command = begin(start, tmp_path, moment, grid(ONE))
    stop(command, *numbers)
    if moment == "planning":
        assert command.problems == "bench: interrupted\n"
        assert statuses(tmp_path) == {}
    else:
        assert statuses(tmp_path) == {ONE: "interrupted"}
        assert command.to_continue() == grid(ONE)


@pytest.mark.slow
def test_closing_the_terminal_interrupts_the_grid(start: Start, tmp_path: Path) -> None:
    (tmp_path / "wait-training").touch()
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = start(tmp_path, grid(ONE), [os.ttyname(terminal)] * 3)

    def has_reached_training() -> bool:
        while select.select([controller], [], [], 0)[0]:
            os.read(controller, 1 << 16)  # as a terminal does
        return (tmp_path / "at-training").exists()

    until(has_reached_training, lambda: "it never trained")
    os.close(terminal)  # only now: while nobody has it open, reading fails
    os.close(controller)
    command.check_interrupted()
    assert statuses(tmp_path) == {ONE: "interrupted"}


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_and_can_go_on(start: Start, tmp_path: Path) -> None:
    arguments = grid(BOTH, pipeline="torchvision[workers=2]")
    command = begin(start, tmp_path, "training", arguments)
    command.process.kill()
    assert command.code() == -signal.SIGKILL
    command.check_none_left()
    assert statuses(tmp_path) == {"works": "ok"}
    before = records(tmp_path)
    release(tmp_path)
    rest = start(tmp_path, arguments)
    assert rest.code() == 0, rest.output + rest.problems
    after = records(tmp_path)
    assert statuses(tmp_path) == {"works": "ok", "would_halt": "ok"}
    assert after | before == after
    rest.check_none_left()
