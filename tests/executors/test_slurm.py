"""The Slurm executor, on submitit's local cluster: jobs are processes of this machine."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.executors import choose_executor
from bench.executors import slurm as module
from bench.executors.remote import RemoteExecutor
from bench.executors.slurm import SlurmCluster, SlurmOptions, read_slurm_options, sbatch_parameters
from bench.record import Record
from tests import checkout
from tests.executors.fake_cluster import made_job, tiny_job, watcher
from tests.executors.fake_slurm_job import fake_job
from tests.executors.remote_checks import check_retry, check_same_numbers, check_stopping

submitit = pytest.importorskip("submitit", reason="needs submitit: pip install '.[slurm]'")


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RemoteExecutor]:
    monkeypatch.setattr(module, "STATE_INTERVAL_S", 0.2)
    monkeypatch.setattr(module, "SETTLE_S", 0.5)

    def join(at_once: int = 4) -> RemoteExecutor:
        options = SlurmOptions(cluster="local", folder=tmp_path / "jobs", at_once=at_once)
        cluster = SlurmCluster.connect(options, device="cpu", timeout_s=3000.0, log=print)
        return RemoteExecutor(cluster=cluster)

    return join


@pytest.fixture
def _fake_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_and_write", fake_job)
    # For the jobs, which import `fake_job` by its name.
    monkeypatch.setenv("PYTHONPATH", str(checkout.ROOT))


@pytest.mark.usefixtures("_fake_runs")
def test_every_job_is_recorded_once_and_nothing_is_left_beside_the_results(
    connect: Callable[..., RemoteExecutor], tmp_path: Path
) -> None:
    lost: list[Record] = []
    jobs = [made_job(tmp_path, "plays", seed) for seed in range(3)]
    found = list(connect().run(jobs, watcher(lost)))
    assert sorted(record.seed for record in found) == list(range(3))
    assert {record.status for record in found} == {"ok"}
    assert lost == []
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.usefixtures("_fake_runs")
@pytest.mark.parametrize(
    ("part", "why"),
    [("is_killed_once", "its job "), ("is_preempted_once", "the cluster preempted")],
)
def test_a_preempted_or_killed_job_is_tried_again_and_its_attempts_are_counted(
    connect: Callable[..., RemoteExecutor], tmp_path: Path, part: str, why: str
) -> None:
    first = check_retry(connect(), tmp_path, part)
    assert len(first.curve) == 1
    assert first.error.message.startswith(why)


@pytest.mark.slow
def test_a_run_gives_equal_numbers(connect: Callable[..., RemoteExecutor], tmp_path: Path) -> None:
    check_same_numbers(connect(), tmp_path)


@pytest.mark.slow
def test_stopping_leaves_no_process(connect: Callable[..., RemoteExecutor], tmp_path: Path) -> None:
    check_stopping(connect(), tmp_path)


@pytest.mark.usefixtures("_fake_runs")
def test_a_cluster_that_takes_no_jobs_says_why(
    connect: Callable[..., RemoteExecutor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any) -> None:
        raise submitit.core.utils.FailedJobError("sbatch: error:\n invalid partition")

    executor = connect()
    cluster: Any = executor.cluster
    monkeypatch.setattr(type(cluster._executor._executor), "_submit_command", refused)
    with pytest.raises(UsageError, match="Slurm does not accept the jobs: sbatch: error: invalid"):
        list(executor.run([made_job(tmp_path, "plays")], watcher([])))


def test_a_node_with_other_versions_is_refused(
    connect: Callable[..., RemoteExecutor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = module.node_versions("cpu", "submitit") | {"torch": "9.9"}
    monkeypatch.setattr(module, "node_versions", lambda *of: ours)
    with pytest.raises(UsageError, match=r"the Submitit node \S+ has torch \S+ instead of 9\.9: "):
        list(connect().run([tiny_job(tmp_path)], watcher([])))


def test_without_slurm_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="sbatch and srun are not on the PATH"):
        SlurmCluster.connect(SlurmOptions(), device="cpu", timeout_s=9.0, log=print)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["partitoin=gpu"], "partition"),
        (["partition"], "write partition=VALUE"),
        (["partition="], "write partition=VALUE"),
        (["cpus=0"], "whole number from 1"),
        (["cpus=1.5"], "whole number from 1"),
        (["exclusive=true"], "yes or no"),
        (["cluster=pbs"], "local"),
        (["account=a\nb"], "does not accept"),
        (["cpus=1", "cpus=2"], "given twice"),
    ],
)
def test_wrong_options_are_refused(words: Sequence[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_executor("slurm", slurm=words)


def test_options_reach_sbatch(tmp_path: Path) -> None:
    words = ["partition=gpu", "exclusive=yes", "mem_gb=32", "at_once=8", "account=a'b"]
    given = sbatch_parameters(read_slurm_options(words), "cuda", 3600.0)
    slurm = {name.removeprefix("slurm_"): value for name, value in given.items()}
    slurm["time"] = slurm.pop("timeout_min")
    slurm["ntasks_per_node"] = slurm.pop("tasks_per_node")
    text = submitit.slurm.slurm._make_sbatch_string("command", tmp_path, map_count=20, **slurm)
    for wanted in ("--partition=gpu", "--exclusive", "--mem=32GB", "--array=0-19%8", "--time=70",
                   "--gpus-per-node=1", "--account='a'\"'\"'b'"):  # fmt: skip
        assert f"#SBATCH {wanted}\n" in text


@pytest.mark.parametrize(
    ("done", "state", "squeue", "over"),
    [
        (True, "UNKNOWN", "exit 1", True),
        (False, "RUNNING", "echo 8_0", False),
        (False, "UNKNOWN", "echo 8_0; echo 7_0; echo 7_1", False),
        (False, "UNKNOWN", "echo 8_0; echo 7_0", True),
        (False, "UNKNOWN", "true", True),
        (False, "UNKNOWN", "echo no controller >&2; exit 1", False),
    ],
)
def test_where_there_is_no_accounting_the_queue_is_asked_what_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool, state: str, squeue: str, over: bool
) -> None:
    for name, script in (("sbatch", "true"), ("srun", "true"), ("squeue", squeue)):
        checkout.program(tmp_path / name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    cluster = SlurmCluster.connect(
        SlurmOptions(folder=tmp_path / "jobs"), device="cpu", timeout_s=9.0, log=pytest.fail
    )

    class Handle:
        job_id = "7_1"

        def done(self, force_check: bool) -> bool:
            return done

    handle = Handle()
    handle.state = state  # type: ignore[attr-defined]
    assert cluster._has_ended(handle) is over  # type: ignore[arg-type]
