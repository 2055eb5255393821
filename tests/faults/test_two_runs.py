"""Faults 14 and 15: several `bench run` on one folder, on one host or on many."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from bench.store.files import StoreError
from bench.store.locks import Turn
from bench.store.store import Store
from tests.checkout import ROOT


@contextmanager
def grids(
    folder: Path, *orders: dict[str, object], before: tuple[tuple[str, ...], ...] = ()
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Grids that run at once, whose workers pretend to train; see `tests.faults.acting`."""
    running = [
        subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.faults.acting", str(folder), json.dumps(order)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for order, prefix in zip(orders, before or [()] * len(orders), strict=True)
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


def claims(folder: Path) -> list[Path]:
    return list((folder / "records").glob("*.claim"))


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


def refused(folder: Path, turn: Turn) -> str:
    """What one that wants the folder is told."""
    with pytest.raises(StoreError) as caught, Store(folder).lock(turn):
        pytest.fail("the folder was given twice")
    return str(caught.value)


def test_14_a_second_run_is_refused_with_who_has_the_folder_until_that_one_is_dead(
    tmp_path: Path,
) -> None:
    """Fault 14: pid, host and time of the other; its stale lock is taken over with a note."""
    with grids(tmp_path, {"seeds": 1, "work_s": 300}) as (first,):
        until(lambda: list((tmp_path / "logs").glob("*.log")))
        for turn in get_args(Turn):
            if turn != "wait":
                said = refused(tmp_path, turn)
                assert f"is in use: already running (pid {first.pid} on " in said
                assert ", since 20" in said
        first.send_signal(signal.SIGKILL)
        first.wait()
    with grids(tmp_path, {"seeds": 1}) as (second,):
        output = ended(second)
    assert f"left locked by pid {first.pid} on " in output
    assert "taken over" in output
    assert kept(tmp_path) == ONCE[:1]


def test_14_who_waits_says_for_whom_and_then_does_only_what_is_left(tmp_path: Path) -> None:
    """Fault 14: --wait. The plan was made before; what the other has done is not done again."""
    with grids(tmp_path, {"seeds": 2, "work_s": 3}) as (first,):
        until(lambda: list((tmp_path / "logs").glob("*.log")))
        with grids(tmp_path, {"seeds": 3, "turn": "wait"}) as (second,):
            ended(first)
            output = ended(second)
    assert f"waiting for {tmp_path}: already running (pid {first.pid} on " in output
    assert "seed0 was done meanwhile by another `bench run`" in output
    assert "3 runs: 3 ok" in output
    assert kept(tmp_path) == ONCE[:3]
    assert by(tmp_path) == {first.pid: 2, second.pid: 1}


def test_14_three_that_share_do_every_run_once_and_leave_the_tables_whole(tmp_path: Path) -> None:
    """Fault 14: --share. One of them is killed in the middle; a plain run is kept out meanwhile."""
    order: dict[str, object] = {"seeds": 8, "turn": "share", "work_s": 0.7}
    with grids(tmp_path, order, order, order | {"work_s": 300}) as (*two, slow):
        until(lambda: any(f'"pid":{slow.pid},' in path.read_text() for path in claims(tmp_path)))
        plain = refused(tmp_path, "alone")
        slow.send_signal(signal.SIGKILL)
        slow.wait()
        said = "".join(map(ended, two))
    assert "is in use: already running (bench run --share: pid " in plain
    assert f"pid {slow.pid} on " in plain
    assert f"was claimed by pid {slow.pid} on " in said
    assert "which is gone: taken over" in said
    assert kept(tmp_path) == ONCE
    assert set(by(tmp_path)) == {process.pid for process in two}
    assert not claims(tmp_path)
    table = (tmp_path / "matrix.csv").read_text().splitlines()
    assert len(table) == 2
    assert dict(zip(table[0].split(","), table[1].split(","), strict=False))["seeds"] == "8"
    assert "cnn4" in (tmp_path / "matrix.md").read_text()
    assert len(list((tmp_path / "tensorboard" / "matrix").glob("*tfevents*"))) == 1


def test_14_runs_that_others_hold_are_left_to_them_and_that_is_said(tmp_path: Path) -> None:
    """Fault 14: who has nothing more to do ends, and its summary names who has the rest."""
    with grids(tmp_path, {"seeds": 1, "turn": "share", "work_s": 300}) as (slow,):
        until(lambda: claims(tmp_path))
        with grids(tmp_path, {"seeds": 3, "turn": "share"}) as (quick,):
            output = ended(quick)
    summary = output[output.index("2 runs: 2 ok") - 800 :]
    assert f"1 run is left to others that have claimed them: pid {slow.pid} on " in summary
    assert "1 run is left" in summary
    assert kept(tmp_path) == [(1, 1), (2, 1)]


@pytest.fixture
def hosts() -> tuple[tuple[str, ...], ...]:
    """What lets commands run as on two hosts: other names, other process ids."""
    unshare = shutil.which("unshare")
    make = (str(unshare), "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c")
    if unshare is None or subprocess.run([*make, "hostname x"], check=False).returncode:
        pytest.skip("no host names and process ids of one's own without root")
    return tuple((*make, f'hostname {name}; exec "$@"', "sh") for name in ("one", "other"))


def test_15_two_hosts_do_every_run_once(tmp_path: Path, hosts: tuple[tuple[str, ...], ...]) -> None:
    """Fault 15: neither can see the other's processes, which may have the same ids."""
    order: dict[str, object] = {"seeds": 8, "turn": "share", "work_s": 0.5}
    with grids(tmp_path, order, order, before=hosts) as running:
        for process in running:
            ended(process)
    assert kept(tmp_path) == ONCE
    assert not claims(tmp_path)


def test_15_a_host_that_is_not_heard_of_loses_its_claim_and_its_late_record_is_an_attempt(
    tmp_path: Path, hosts: tuple[tuple[str, ...], ...]
) -> None:
    """Fault 15: a host that stands still and then goes on makes no record lost or double."""
    slow: dict[str, object] = {"seeds": 1, "turn": "share", "work_s": 1, "beat_s": 0.1}
    quick: dict[str, object] = {"seeds": 1, "turn": "share"}
    with grids(tmp_path, slow, before=hosts[:1]) as (still,):
        until(lambda: claims(tmp_path))
        stopped = [still.pid, *below(still.pid)]
        for pid in stopped:
            signal_to(pid, signal.SIGSTOP)
        with grids(tmp_path, quick, before=hosts[1:]) as (early,):
            assert "1 run is left to others that have claimed them: pid " in ended(early)
        time.sleep(1)
        with grids(tmp_path, quick | {"stale_s": 0.5}, before=hosts[1:]) as (late,):
            assert " on one, since 20" in ended(late)
        assert kept(tmp_path) == [(0, 1)]
        for pid in stopped:
            signal_to(pid, signal.SIGCONT)
        ended(still)
    assert kept(tmp_path) == [(0, 1), (0, 2)]
    assert not claims(tmp_path)


def below(pid: int) -> list[int]:
    """All processes that a process has started, and those that they have."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, found) for one in (child, *below(child))]


def signal_to(pid: int, number: signal.Signals) -> None:
    subprocess.run(["kill", f"-{number.value}", str(pid)], check=True)
