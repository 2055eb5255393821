"""Several GPUs of one host, played by workers without one: who trains what, and how it ends."""

import time
from collections import defaultdict
from itertools import groupby
from pathlib import Path

import pytest

from bench import executors
from bench.executors import Choice, create_executor
from bench.executors.base import Watcher
from bench.executors.local import LocalExecutor
from bench.executors.multi_gpu import (
    Gpu,
    JobQueue,
    Lane,
    MultiGpuExecutor,
    filter_visible,
    same_model,
)
from bench.job import Job
from bench.record import Record
from bench.store.files import StoreError
from tests.executors.fake_cluster import made_job, watcher
from tests.machine.test_environment import pretend

pytestmark = pytest.mark.usefixtures("no_child_is_left")

DEVICES = ("GPU-a", "GPU-b")
LISTED = [
    Gpu(index=str(index), uuid=f"GPU-{mark}", name=name)
    for index, mark, name in ((0, "aa01", "H100"), (1, "aa02", "H100"), (2, "bb03", "A100"))
]


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        (None, "012"),
        ("", ""),
        ("1,0", "10"),
        ("GPU-bb,1", "21"),
        ("GPU-aa", ""),  # which of two
        ("0,-1,1", "0"),
        ("0,7,1", "0"),
        ("0,0", "0"),
        ("MIG-123", ""),
    ],
)
def test_what_is_visible(visible: str | None, indexes: str) -> None:
    assert "".join(gpu.index for gpu in filter_visible(LISTED, visible)) == indexes
    assert [gpu.index for gpu in same_model(LISTED)] == ["0", "1"]


def test_a_host_uses_gpus_of_one_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notices: list[str] = []

    def asked(device: str = "cuda", *, alone: bool = False) -> object:
        notices.clear()
        return create_executor(
            Choice(), device=device, timeout_s=9.0, log=notices.append, exclusive_timing=alone
        )

    text = "\n".join(f"{at}, GPU-{at}{at}, {name}" for at, name in enumerate(("H1", "A1", "H1")))
    pretend(monkeypatch, tmp_path, "nvidia-smi", f"print({text!r})")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = asked()
    assert isinstance(found, MultiGpuExecutor)
    assert (found.devices, found.timeout_s) == (["GPU-00", "GPU-22"], 9.0)
    assert notices[0].startswith("1 of 3 GPUs are not H1")
    assert notices[1].startswith("2 GPUs, one run on each at a time")
    for executor in (asked("cpu"), asked(alone=True)):
        assert (executor, notices) == (LocalExecutor(timeout_s=9.0), [])
    ahead = LocalExecutor(timeout_s=9.0, prestart=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert asked() == ahead
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert asked() == ahead
    assert "are not used" in notices[0]
    assert executors.EXECUTORS["local"] == ""


class FakeLane(Lane):
    def __post_init__(self) -> None:  # starts no thread
        pass


def lanes(number: int) -> list[Lane]:
    return [FakeLane(executor=LocalExecutor(timeout_s=1.0), events=None) for _ in range(number)]


def compiled(folder: Path, counts: dict[str, int]) -> list[Job]:
    """Jobs with this many seeds of each net; each net has its own compiled model."""
    return [
        made_job(folder, net, seed, compile=True)
        for net, count in counts.items()
        for seed in range(count)
    ]


def taken(waiting: JobQueue, order: str, number: int = 2) -> list[str]:
    """Nets in the order in which the lanes, counted from 0, take them."""
    made = lanes(number)
    jobs = [waiting.take(made[int(lane)], made) for lane in order]
    return [job.run.cell.architecture if job else "-" for job in jobs]


def test_the_largest_model_goes_first_and_an_idle_lane_helps_others(tmp_path: Path) -> None:
    jobs = compiled(tmp_path, {"few": 2, "many": 4, "one": 1})
    assert taken(JobQueue(jobs), "01001010") == [
        "many", "few", "many", "many", "few", "many", "one", "-",
    ]  # fmt: skip
    waiting = JobQueue(compiled(tmp_path, {"a": 4, "b": 3}))
    assert "".join(taken(waiting, "0" * 8, number=1)) == "aaaabbb-"
    waiting = JobQueue(compiled(tmp_path, {"only": 4}))
    assert taken(waiting, "01010") == ["only"] * 4 + ["-"]
    jobs = [made_job(tmp_path, net) for net in ("a", "b", "c")]
    assert taken(JobQueue(jobs), "0110") == ["a", "b", "c", "-"]


@pytest.mark.usefixtures("actor")
def test_every_run_is_recorded_once_by_one_worker_per_gpu_and_model(tmp_path: Path) -> None:
    jobs = [
        made_job(tmp_path, "naps", seed, width=width, compile=True)
        for width in (0.1, 0.2)
        for seed in range(4)
    ]
    found = list(MultiGpuExecutor(devices=DEVICES, timeout_s=60.0).run(jobs, watcher()))
    assert sorted(record.run_id for record in found) == sorted(job.run.id for job in jobs)
    assert {record.status for record in found} == {"ok"}
    workers = defaultdict(list)
    for record in found:
        workers[record.environment["gpu"]].append((record.cell.width, record.environment["pid"]))
    assert set(workers) == set(DEVICES)
    for taken_here in workers.values():  # a GPU that was done first may have helped the other
        changes = [found for found, _ in groupby(taken_here)]
        assert len(changes) == len({width for width, _ in changes}) == len(set(changes))


@pytest.mark.usefixtures("actor")
def test_a_worker_that_dies_is_a_row_and_its_gpu_goes_on(tmp_path: Path) -> None:
    parts = ("is_killed", "plays", "naps", "fails", "plays")
    jobs = [made_job(tmp_path, part, seed) for seed, part in enumerate(parts)]
    found = list(MultiGpuExecutor(devices=DEVICES, timeout_s=60.0).run(jobs, watcher()))
    found.sort(key=lambda record: record.seed)
    assert [record.status for record in found] == ["crashed", "ok", "ok", "crashed", "ok"]
    assert {record.environment.get("gpu") for record in found[1:3]} <= set(DEVICES)


@pytest.mark.usefixtures("actor")
def test_closing_ends_all_workers_and_gives_the_records_of_what_they_did(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    seeds: list[int] = []

    def stop(job: Job, *epoch: object) -> None:
        seeds.append(job.run.seed)
        if len(seeds) == 2:
            raise Stop

    executor = MultiGpuExecutor(devices=DEVICES, timeout_s=60.0)
    jobs = [made_job(tmp_path, "hangs", seed) for seed in range(3)]
    start = time.monotonic()
    with pytest.raises(Stop):
        next(executor.run(jobs, Watcher(started=lambda job: None, epoch=stop)))
    assert time.monotonic() - start < 300, "nobody waits until the runs have ended"
    cut_off: list[Record] = executor.interrupted()
    assert sorted(record.seed for record in cut_off) == sorted(seeds) == [0, 1]
    assert {record.status for record in cut_off} == {"interrupted"}


def test_what_goes_wrong_beside_a_worker_ends_the_grid(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    executor = MultiGpuExecutor(devices=DEVICES, timeout_s=60.0)
    with pytest.raises(StoreError, match="logs"):
        list(executor.run([made_job(tmp_path, "plays")], watcher()))
