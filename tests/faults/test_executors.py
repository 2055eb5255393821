"""A Ray cluster that loses its head or all of its nodes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from bench.record import Record
from bench.store.store import Store
from tests.checkout import ROOT
from tests.executors.fake_cluster import SMALL
from tests.executors.test_ray import HEALTH_CHECKS
from tests.faults import acting
from tests.faults.made import MARK, PATIENCE_S, of_mark, until

pytestmark = pytest.mark.slow

FROZEN_MS = 5000  # after this time a head that hangs counts as dead


class Nodes:
    """A head without CPUs and two nodes that train one run at a time."""

    def __init__(self) -> None:
        self.cluster: Any = Cluster(shutdown_at_exit=True)

    def complete(self) -> str:
        """Starts the missing nodes and returns the address."""
        if self.cluster.head_node is None:
            self.start_head()
        while len(self.cluster.worker_nodes) < 2:
            self.cluster.add_node(num_cpus=1, **SMALL)
        return str(self.cluster.address)

    def start_head(self, **more: Any) -> None:
        checks = HEALTH_CHECKS | {"health_check_timeout_ms": FROZEN_MS}
        self.cluster.add_node(
            num_cpus=0, include_dashboard=False, _system_config=checks, **SMALL, **more
        )

    def kill_head(self) -> None:
        self.cluster.remove_node(self.cluster.head_node, allow_graceful=False)

    def freeze_head(self) -> None:
        for gcs in self.cluster.head_node.all_processes["gcs_server"]:
            gcs.process.send_signal(signal.SIGSTOP)

    def kill_nodes(self) -> None:
        for node in list(self.cluster.worker_nodes):
            self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """Marks the environment of all processes that are started here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, made := token_hex(8))
        patch.setenv("PYTHONPATH", str(ROOT))
        yield made
        for pid in of_mark(made):
            if pid != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def nodes(mark: str) -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.cluster.shutdown()


class Grid:
    """A grid of three runs on the cluster, the first of which ends at once."""

    def __init__(self, folder: Path, mark: str, address: str) -> None:
        self.folder, self.mark = folder, mark
        self.start(address)

    def start(self, address: str) -> None:
        self.address = address
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*acting.PROGRAM, str(self.folder), address],
                cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def records(self) -> dict[int, Record]:
        return {record.seed: record for record in Store(self.folder).records(pytest.fail)}

    def check_ended(self, code: int, statuses: str, reason: str = "") -> None:
        assert self.process.wait(PATIENCE_S) == code, self.output
        found = " ".join(record.status for _, record in sorted(self.records.items()))
        assert found == statuses, self.output
        assert reason in self.output.splitlines()[-1], self.output
        assert "Traceback" not in self.output
        assert "StackTrace" not in self.output

    def check_none_left(self) -> None:
        def left() -> list[bytes]:
            named = []
            for pid in of_mark(self.mark):
                with suppress(OSError):
                    named.append(Path(f"/proc/{pid}/cmdline").read_bytes())
            return [name for name in named if b"acting" in name or name.startswith(b"sleep")]

        until(lambda: not left(), lambda: f"still there: {left()}")


@pytest.fixture
def grid(nodes: Nodes, mark: str, tmp_path: Path) -> Iterator[Grid]:
    """A grid whose first run is recorded and whose others are being trained."""
    made = Grid(tmp_path, mark, nodes.complete())
    try:
        at = [tmp_path / "at-1", tmp_path / "at-2"]
        ready = lambda: len(made.records) == 1 and all(path.exists() for path in at)  # noqa: E731
        until(ready, lambda: f"it did not get this far: {made.output}")
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@pytest.mark.parametrize("lost", ["head", "head, which starts again", "head, which hangs", "nodes"])
def test_a_grid_ends_and_the_same_command_continues_it(nodes: Nodes, grid: Grid, lost: str) -> None:
    if lost == "nodes":
        nodes.kill_nodes()
        reason = "no node of the Ray cluster has a free CPU"
    else:
        nodes.freeze_head() if lost == "head, which hangs" else nodes.kill_head()
        reason = f"the head of the Ray cluster at {grid.address} has ended or does not answer"
    if lost == "head, which starts again":
        nodes.start_head(gcs_server_port=int(grid.address.rpartition(":")[2]))
    grid.check_ended(1, "ok interrupted interrupted", reason)
    if lost == "head, which hangs":
        nodes.kill_head()
    if lost == "head, which starts again":
        nodes.kill_nodes()  # the new head does not know the nodes of the old one
    grid.check_none_left()
    nodes.kill_nodes()
    first = grid.records[0]
    (grid.folder / "go").touch()
    grid.start(nodes.complete())
    grid.check_ended(0, "ok ok ok")
    grid.check_none_left()
    assert grid.records[0] == first
