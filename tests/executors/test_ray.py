"""The Ray executor, on a cluster on this machine whose nodes and workers are killed."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from ray import exceptions
from ray.cluster_utils import Cluster
from typer.testing import CliRunner

from bench import executors
from bench.cli import app
from bench.errors import UsageError
from bench.executors import choose_executor
from bench.executors import ray as module
from bench.executors.ray import RayCluster
from bench.executors.remote import RemoteExecutor
from bench.record import Record
from tests.checkout import ROOT
from tests.executors.fake_cluster import SMALL, fake_run_job, made_job, watcher
from tests.executors.remote_checks import check_retry, check_same_numbers, check_stopping

ray = pytest.importorskip("ray", reason="needs ray: pip install 'pipeline-bench[ray]'")

# A dead node is noticed within seconds, a slow one is not taken for dead.
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 20_000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that trains one run at a time."""
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": HEALTH_CHECKS, **SMALL}
    made = Cluster(initialize_head=True, head_node_args=head)
    yield made
    made.shutdown()


@pytest.fixture
def connect(cluster: Any) -> Iterator[Callable[[], RemoteExecutor]]:
    """Returns an executor on the cluster; disconnects at the end."""

    def make() -> RemoteExecutor:
        connected = RayCluster.connect(cluster.address, device="cpu", timeout_s=100.0)
        return RemoteExecutor(cluster=connected)

    yield make
    ray.shutdown()


@pytest.fixture
def _fake_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_job", fake_run_job)


@pytest.mark.slow
@pytest.mark.usefixtures("_fake_runs")
def test_a_node_that_dies_in_the_middle_costs_no_record(
    cluster: Any, connect: Callable[[], RemoteExecutor], tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=2, **SMALL)
    (tmp_path / "doomed").write_text(node.node_id)
    executor = connect()

    def kill() -> None:
        deadline = time.monotonic() + 240
        while len(list(tmp_path.glob("hangs*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)

    killer = Thread(target=kill)
    killer.start()
    lost: list[Record] = []
    jobs = [made_job(tmp_path, "plays", seed) for seed in range(30)]
    found = list(executor.run(jobs, watcher(lost)))
    killer.join()
    assert sorted(record.seed for record in found) == list(range(30))
    assert {record.status for record in found} == {"ok"}
    assert {record.environment["node"] for record in found} == {cluster.head_node.node_id}
    hung = sorted(int(path.name.removeprefix("hangs")) for path in tmp_path.glob("hangs*"))
    assert sorted(record.seed for record in lost) == hung
    assert len(hung) == 2
    assert {record.status for record in lost} == {"interrupted"}


@pytest.mark.usefixtures("_fake_runs")
def test_a_worker_that_is_killed_is_tried_again_and_the_attempts_are_counted(
    connect: Callable[[], RemoteExecutor], tmp_path: Path
) -> None:
    check_retry(connect(), tmp_path, "is_killed_once")


@pytest.mark.slow
def test_a_run_gives_equal_numbers(connect: Callable[[], RemoteExecutor], tmp_path: Path) -> None:
    check_same_numbers(connect(), tmp_path)


@pytest.mark.slow
def test_stopping_leaves_no_process(connect: Callable[[], RemoteExecutor], tmp_path: Path) -> None:
    check_stopping(connect(), tmp_path)


def test_nodes_with_other_versions_are_refused(
    connect: Callable[[], RemoteExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = module.node_versions("cpu", "ray") | {"torch": "9.9"}
    monkeypatch.setattr(module, "node_versions", lambda *of: ours)
    with pytest.raises(UsageError, match=r"the Ray node \S+ has torch \S+ instead of 9\.9: make"):
        connect()


def test_a_node_that_dies_while_it_is_is_usable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(answer: Any, timeout: float) -> None:
        raise answer

    monkeypatch.setattr(ray, "get", gone)
    assert not module._is_usable(exceptions.TaskUnschedulableError("no such node"), "1.2.3.4")
    assert not module._is_usable(exceptions.NodeDiedError("dead"), "1.2.3.4")
    with pytest.raises(UsageError, match=r"the Ray node 1\.2\.3\.4 failed"):
        module._is_usable(exceptions.RaySystemError("other"), "1.2.3.4")


def test_what_ray_prints_goes_to_stderr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def talkative(*arguments: Any, **more: Any) -> None:
        print("(raylet) a node is gone")
        raise UsageError("no cluster")

    monkeypatch.setattr(executors, "create_executor", talkative)
    grid = ["run", "--grid", "smoke", "--source", "shapes", "--executor", "ray"]
    done = CliRunner().invoke(app.app, [*grid, "--out", str(tmp_path), "--progress", "json"])
    assert done.exit_code == 2
    assert "(raylet)" in done.stderr
    assert done.stdout
    for line in done.stdout.splitlines():
        json.loads(line)


@pytest.mark.slow
def test_a_cluster_without_a_gpu_is_refused(cluster: Any) -> None:
    try:
        with pytest.raises(UsageError, match="no node of the Ray cluster has a free GPU"):
            RayCluster.connect(cluster.address, device="cuda", timeout_s=9.0)
    finally:
        ray.shutdown()


@pytest.fixture
def guarded_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster that asks for the token in `tmp_path`."""
    ray_command = str(Path(sys.executable).with_name("ray"))
    monkeypatch.setenv("HOME", str(tmp_path))
    subprocess.run([ray_command, "get-auth-token", "--generate"], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--num-cpus=1", "--include-dashboard=false", "--object-store-memory=104857600"]
    with (tmp_path / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [ray_command, "start", "--head", f"--port={port}", "--block", *options],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 240
        while "runtime started" not in (tmp_path / "head.log").read_text():
            assert head.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait()


@pytest.mark.slow
def test_a_cluster_gets_a_token_or_says_it_needs_one(guarded_address: str, tmp_path: Path) -> None:
    def connect() -> "subprocess.CompletedProcess[str]":
        code = (
            "from bench.executors.ray import RayCluster\n"
            f"RayCluster.connect({guarded_address!r}, device='cpu', timeout_s=9.0).close()"
        )
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )

    done = connect()
    assert done.returncode == 0, done.stderr
    (tmp_path / ".ray" / "auth_token").unlink()
    refused = connect()
    assert refused.returncode == 1
    assert "authentication failed: the Ray cluster at 127.0.0.1:" in refused.stderr.splitlines()[-1]
    assert "Copy ~/.ray/auth_token" in refused.stderr


def test_no_cluster_at_the_address() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"no Ray cluster answers at 127.0.0.1:{port} "):
            RayCluster.connect(f"127.0.0.1:{port}", device="cpu", timeout_s=9.0)
    with pytest.raises(UsageError, match="no Ray cluster answers at nonsense "):
        RayCluster.connect("nonsense", device="cpu", timeout_s=9.0)


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_library_may_be_missing(monkeypatch: pytest.MonkeyPatch, name: str, library: str) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    done = CliRunner().invoke(app.app, ["run", "--executor", name])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    expected = f"bench: --executor {name} needs {library}, which is not installed: pip install"
    assert line.startswith(expected)


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(UsageError, match="roy"):
        choose_executor("roy")
    with pytest.raises(UsageError, match="--address is for Ray clusters"):
        choose_executor("local", "127.0.0.1:6379")
    with pytest.raises(UsageError, match="--slurm is for Slurm clusters"):
        choose_executor("local", slurm=["partition=gpu"])
