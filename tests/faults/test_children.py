"""A worker that fails or hangs: its run is a row with the reason, and the other runs go on.

The workers are real, see `zygote.py`. The kernel's out-of-memory killer is assumed to send signal
9; here the worker sends it to itself.
"""

import time
from dataclasses import dataclass

import pytest

from bench.record import Record
from tests.faults.made import Command, Zygote, grid, records

STATUSES = {
    "gives_nan": "diverged",
    "gpu_full": "oom",
    "host_full": "oom",
    "raises": "crashed",
    "killed": "crashed",
    "segfaults": "crashed",
    "works": "ok",
}
GRID = grid(" or ".join(STATUSES), "--target", "0.105")
HANGING = {"is_stubborn": "kornia", "stalls": "torchvision[workers=2]"}
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def commands(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    """A grid of all nets that end, and beside it one for each net that hangs."""
    folder = tmp_path_factory.mktemp("children")
    timeout = ["--timeout", f"{TIMEOUT_S:g}"]
    hanging = {
        net: zygote.run(folder / net, grid(net, *timeout, pipeline=pipeline))
        for net, pipeline in HANGING.items()
    }
    return {"": zygote.run(folder / "ended", GRID)} | hanging


@dataclass
class Ended:
    """The grid of the nets that end."""

    command: Command
    output: str
    records: dict[str, Record]

    def error(self, net: str) -> str:
        error = self.records[net].error
        return f"{error.type}: {error.message}\n{error.traceback}"


@pytest.fixture(scope="module")
def ended(commands: dict[str, Command]) -> Ended:
    command = commands[""]
    assert command.code() == 1, command.problems
    return Ended(command, "\n".join(command.lines), records(command.folder))


@pytest.fixture(scope="module")
def table(zygote: Zygote, ended: Ended) -> list[str]:
    assert "table: " in ended.output
    command = zygote.run(ended.command.folder, ["table", "results", "--format", "md"])
    assert command.code() == 0
    return [line for line in command.output.splitlines() if line.startswith("|")]


def test_every_failed_run_is_reported_and_the_others_go_on(ended: Ended, table: list[str]) -> None:
    assert {net: record.status for net, record in ended.records.items()} == STATUSES
    assert "Traceback" not in ended.output
    for net, status in STATUSES.items():
        assert f"{status:<10} {net}/sgd/none/kornia" in ended.output
        (row,) = [line for line in table if f"| {net} " in line]
        assert status == "ok" or status in row


OUT_OF_MEMORY = ("out of memory with batch size 64, peak ", "--set batch_size=32 or --set width=")


@pytest.mark.parametrize(
    ("net", "parts"),
    [
        ("gives_nan", ("the training loss was nan in epoch 1 (peak learning rate 0.05)",)),
        ("gpu_full", (*OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 20.00 MiB.")),
        ("host_full", (*OUT_OF_MEMORY, "you tried to allocate 4294967296 bytes")),
        ("raises", ("ValueError: boom in forward", "in raises")),
        ("killed", ("the worker was killed by signal 9 SIGKILL (out of host memory?)",)),
        ("segfaults", ("killed by signal 11 SIGSEGV", "Fatal Python error", "in segfaults")),
    ],
)
def test_the_record_says_why_a_run_failed(ended: Ended, net: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        assert part in ended.error(net)
    error = ended.records[net].error
    (log,) = ended.command.folder.glob(f"results/*/{error.log}")
    assert net != "raises" or "boom in forward" in log.read_text()


@pytest.mark.parametrize("net", HANGING)
def test_a_run_that_hangs_is_ended_with_all_its_processes_and_keeps_its_curve(
    zygote: Zygote, commands: dict[str, Command], net: str
) -> None:
    command = commands[net]
    assert command.code() == 1, command.problems
    record = records(command.folder)[net]
    assert record.status == "timeout"
    assert record.error.message == "took longer than 10 s and was stopped (--timeout)"
    assert len(record.curve) == 1
    for other in commands.values():
        other.code()
    zygote.check_none_left(time.monotonic())
