"""A second `bench run` on a folder is refused or waits."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.store.files import StoreError
from bench.store.store import Store
from tests.checkout import ROOT


@contextmanager
def grids(folder: Path, *orders: dict[str, object]) -> Iterator[list["subprocess.Popen[str]"]]:
    """Grids that run at once, whose workers pretend to train; see `tests.faults.acting`."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.acting", str(folder), json.dumps(order)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for order in orders
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def ended(process: "subprocess.Popen[str]") -> str:
    """What a grid said, which ended well."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not what():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def kept(folder: Path) -> list[tuple[int, int]]:
    """Seed and attempt of every record, those of before included."""
    store = Store(folder)
    records = store.records(pytest.fail)
    earlier = [one for record in records for one in store.attempts(record.run_id, pytest.fail)]
    return sorted((record.seed, record.attempt) for record in [*records, *earlier])


def by(folder: Path) -> Counter[int]:
    """How many records each process made."""
    return Counter(record.environment["by"] for record in Store(folder).records(pytest.fail))


ONCE = [(seed, 1) for seed in range(8)]


def refused(folder: Path) -> str:
    """What one that wants the folder is told."""
    with pytest.raises(StoreError) as caught, Store(folder).lock():
        pytest.fail("the folder was given twice")
    return str(caught.value)


def test_a_second_run_is_refused_with_who_has_the_folder_until_that_one_is_dead(
    tmp_path: Path,
) -> None:
    """Pid, host and time of the other; its stale lock is taken over with a note."""
    with grids(tmp_path, {"seeds": 1, "work_s": 300}) as (first,):
        until(lambda: list((tmp_path / "logs").glob("*.log")))
        said = refused(tmp_path)
        assert f"is in use: already running (pid {first.pid} on " in said
        assert ", since 20" in said
        first.send_signal(signal.SIGKILL)
        first.wait()
    with grids(tmp_path, {"seeds": 1}) as (second,):
        output = ended(second)
    assert f"left locked by pid {first.pid} on " in output
    assert "taken over" in output
    assert kept(tmp_path) == ONCE[:1]


def test_who_waits_says_for_whom_and_then_does_only_what_is_left(tmp_path: Path) -> None:
    """The plan was made before; what the other has done is not done again."""
    with grids(tmp_path, {"seeds": 2, "work_s": 1.5}) as (first,):
        until(lambda: list((tmp_path / "logs").glob("*.log")))
        with grids(tmp_path, {"seeds": 3, "wait": True}) as (second,):
            ended(first)
            output = ended(second)
    assert f"waiting for {tmp_path}: already running (pid {first.pid} on " in output
    assert "seed0 was done in the meantime by another `bench run`" in output
    assert "3 runs: 3 ok" in output
    assert kept(tmp_path) == ONCE[:3]
    assert by(tmp_path) == {first.pid: 2, second.pid: 1}
