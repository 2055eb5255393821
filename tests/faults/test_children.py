"""Whatever happens to a worker, its run is a row with the reason and the others go on.

The workers are real: see `tests.faults.zygote`. The kernel's out-of-memory killer is assumed to
send signal 9; here the worker sends it to itself.
"""

import time

import pytest

from bench.record import Record
from tests.faults.made import Command, Zygote, grid, records

DIVERGED = ("gives_nan", "ends_in_nan", "is_tested_in_nan")
FULL = ("gpu_full", "host_full", "python_full")
CRASHED = ("raises", "killed", "segfaults")
ENDED = (*DIVERGED, *FULL, *CRASHED, "guesses", "works")
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def commands(
    zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Command, dict[str, Command]]:
    """A grid of all that end, and beside it three of a net that does not."""
    folder = tmp_path_factory.mktemp("children")
    late = ["--timeout", f"{TIMEOUT_S:g}"]
    hanging = {
        name: zygote.run(folder / name, grid(name, *late, pipeline=pipeline))
        for name, pipeline in (
            ("hangs", "kornia"),
            ("is_stubborn", "kornia"),
            ("stalls", "torchvision[workers=2]"),
        )
    }
    ended = zygote.run(folder / "ended", grid(" or ".join(ENDED), "--target", "0.105"))
    return ended, hanging


@pytest.fixture(scope="module")
def ended(commands: tuple[Command, dict[str, Command]]) -> Command:
    command = commands[0]
    assert command.code() == 1, command.problems
    return command


@pytest.fixture(scope="module")
def found(ended: Command) -> dict[str, Record]:
    return records(ended.folder)


@pytest.fixture(scope="module")
def told(ended: Command) -> str:
    return ended.output + ended.problems


@pytest.fixture(scope="module")
def table(zygote: Zygote, ended: Command, told: str) -> list[str]:
    assert "table: " in told
    command = zygote.run(ended.folder, ["table", "results", "--format", "md"])
    assert command.code() == 0
    return [line for line in command.output.splitlines() if line.startswith("|")]


def message(record: Record) -> str:
    assert record.error is not None
    return record.error.message


def test_others_go_on_and_the_exit_code_says_that_some_failed(found: dict[str, Record]) -> None:
    statuses = {name: record.status for name, record in found.items()}
    assert statuses == (
        dict.fromkeys(DIVERGED, "diverged")
        | dict.fromkeys(FULL, "oom")
        | dict.fromkeys(CRASHED, "crashed")
        | {"guesses": "ok", "works": "ok"}
    )


def test_every_run_that_failed_is_told_and_is_a_row_of_the_table(
    told: str, table: list[str]
) -> None:
    for names, status in ((DIVERGED, "diverged"), (FULL, "oom"), (CRASHED, "crashed")):
        for name in names:
            (row,) = [line for line in table if f"| {name} " in line]
            assert status in row
            assert f"{status:<10} {name}/sgd/none/kornia" in told
    assert "Traceback" not in told


def test_a_net_that_raises_leaves_its_traceback_in_record_and_log(
    ended: Command, found: dict[str, Record]
) -> None:
    error = found["raises"].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "boom in forward")
    assert "in raises" in error.traceback
    (log,) = ended.folder.glob(f"results/*/{error.log}")
    assert "boom in forward" in log.read_text()


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ("gpu_full", "CUDA out of memory. Tried to allocate 20.00 MiB."),
        ("host_full", "can't allocate memory: you tried to allocate 4294967296 bytes"),
        ("python_full", "MemoryError"),
    ],
)
def test_memory_that_runs_out_says_peak_batch_size_and_advice(
    found: dict[str, Record], net: str, said: str
) -> None:
    record = found[net]
    headline, reason = message(record).split("\n", 1)
    assert record.memory.host_gib is not None
    assert headline == (
        f"out of memory with batch size 64, peak {record.memory.host_gib:.2f} GiB of the process; "
        "the batch size is never changed automatically: "
        "--set batch_size=32 or --set width=0.0625 makes a "
        "cell that needs less"
    )
    assert said in reason


def test_the_batch_stays_and_the_next_run_gets_a_fresh_process(
    ended: Command, found: dict[str, Record]
) -> None:
    assert {record.cell.batch_size for record in found.values()} == {64}
    processes = (ended.folder / "processes").read_text().split()
    assert len(processes) == len(ENDED)
    # `guesses` is the only one that ended well before others.
    assert len(set(processes)) == len(ENDED) - 1


def test_a_child_killed_by_signal_9(found: dict[str, Record]) -> None:
    assert message(found["killed"]) == (
        "the worker was killed by signal 9 SIGKILL (out of host memory?)"
    )


def test_a_segfault_says_where(found: dict[str, Record]) -> None:
    assert message(found["segfaults"]) == "the worker was killed by signal 11 SIGSEGV"
    error = found["segfaults"].error
    assert error is not None
    assert "Fatal Python error: Segmentation fault" in error.traceback
    assert "in segfaults" in error.traceback


@pytest.mark.parametrize(
    ("net", "said", "points"),
    [
        ("gives_nan", "the training loss was nan in epoch 1 (peak learning rate 0.05)", 1),
        ("ends_in_nan", "the validation loss was nan in epoch 2 (peak learning rate 0.05)", 2),
        ("is_tested_in_nan", "the test loss was nan in epoch 2 (peak learning rate 0.05)", 2),
    ],
)
def test_a_loss_that_is_no_number_says_where_and_at_which_rate_and_keeps_the_curve(
    found: dict[str, Record], net: str, said: str, points: int
) -> None:
    assert said in message(found[net])
    assert len(found[net].curve) == points
    assert found[net].metrics is None


def test_a_target_that_is_missed_is_not_reached_and_sorts_after_all_that_reached_it(
    found: dict[str, Record], table: list[str]
) -> None:
    reached, missed = found["works"].metrics, found["guesses"].metrics
    assert reached is not None
    assert missed is not None
    assert reached.time_to_accuracy_s is not None
    assert missed.time_to_accuracy_s is None
    assert missed.accuracy == pytest.approx(0.1)
    order = [next(name for name in ENDED if f"| {name} " in line) for line in table[2:]]
    assert order[:2] == ["works", "guesses"]
    assert "not reached" in table[3]
    assert "10.00" in table[3]


def test_a_second_call_trains_nothing_and_still_fails(
    zygote: Zygote, ended: Command, found: dict[str, Record]
) -> None:
    again = zygote.run(ended.folder, grid(" or ".join(ENDED), "--target", "0.105"))
    assert again.code() == 1
    assert records(ended.folder) == found


@pytest.mark.parametrize("net", ["hangs", "is_stubborn", "stalls"])
def test_what_hangs_is_ended_with_all_that_it_started_and_keeps_its_curve(
    zygote: Zygote, commands: tuple[Command, dict[str, Command]], net: str
) -> None:
    command = commands[1][net]
    assert command.code() == 1, command.problems
    record = records(command.folder)[net]
    assert record.status == "timeout"
    assert message(record) == "took longer than 10 s and was stopped (--timeout)"
    assert len(record.curve) == 1
    for other in (commands[0], *commands[1].values()):
        other.code()
    zygote.check_none_left(time.monotonic())
