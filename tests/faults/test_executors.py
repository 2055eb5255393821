"""A Ray cluster that loses its head or all of its nodes; see `fake_ray_grid`."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from bench.record import Record
from bench.store.store import Store
from tests.checkout import ROOT
from tests.executors.fake_cluster import SMALL
from tests.faults.fake_ray_grid import PROGRAM
from tests.faults.made import GONE_S, MARK, PATIENCE_S, of_mark, until

pytest.importorskip("ray", reason="needs ray: pip install 'pipeline-bench[ray]'")

HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}


@dataclass(kw_only=True)
class Nodes:
    """A head that trains nothing and two nodes that train one run at a time each."""

    cluster: Any = field(default_factory=lambda: Cluster(shutdown_at_exit=True))

    def whole(self) -> str:
        """Starts what is missing; the address."""
        if self.cluster.head_node is None:
            self.start_head()
        while len(self.cluster.worker_nodes) < 2:
            self.cluster.add_node(num_cpus=1, **SMALL)
        return str(self.cluster.address)

    def start_head(self, **more: Any) -> None:
        """Starts the head."""
        self.cluster.add_node(
            num_cpus=0, include_dashboard=False, _system_config=HEALTH_CHECKS, **SMALL, **more
        )

    def end_head(self) -> None:
        """The head is gone in an instant."""
        self.cluster.remove_node(self.cluster.head_node, allow_graceful=False)

    def end_nodes(self) -> None:
        """All but the head are gone in an instant."""
        for node in list(self.cluster.worker_nodes):
            self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """In the environment of all that is started here."""
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


@dataclass(kw_only=True)
class Grid:
    """A command that trains three runs on the cluster, the first of which ends at once."""

    folder: Path
    address: str
    mark: str
    process: Any = None

    def start(self) -> None:
        command = [*PROGRAM, "grid", str(self.folder), self.address, "3"]
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def wait_for(self, seed: int) -> int:
        """Waits until a run is trained; its worker."""
        path = self.folder / f"at-{seed}"
        until(lambda: path.exists() and bool(path.read_text()), lambda: f"never: {self.said}")
        return int(path.read_text())

    def middle(self) -> None:
        """Starts, and waits until the first is recorded and the others are trained."""
        self.start()
        until(lambda: len(self.records) == 1, lambda: f"never recorded: {self.said}")
        self.wait_for(1)
        self.wait_for(2)

    def go(self) -> None:
        """All runs may end."""
        (self.folder / "go").touch()

    @property
    def records(self) -> dict[int, Record]:
        warnings: list[str] = []
        found = Store(self.folder).records(on_warning=warnings.append)
        assert not warnings
        return {record.seed: record for record in found}

    def check_ended(self, code: int, statuses: str, told: str = "") -> None:
        """It ends with this code and sentence, these statuses, and leaves no process."""
        since = self.check_said(code, statuses, told)
        self.check_none_left(since)

    def check_said(self, code: int, statuses: str, told: str) -> float:
        """It ends with this code and sentence and these statuses; when it did."""
        assert self.process.wait(PATIENCE_S) == code, self.said
        since = time.monotonic()
        found = " ".join(record.status for _, record in sorted(self.records.items()))
        assert found == statuses, self.said
        assert told in self.said.splitlines()[-1], self.said
        assert "Traceback" not in self.said
        assert "StackTrace" not in self.said
        return since

    def check_none_left(self, since: float) -> None:
        def left() -> list[bytes]:
            named = []
            for pid in of_mark(self.mark):
                with suppress(OSError):
                    named.append(Path(f"/proc/{pid}/cmdline").read_bytes())
            return [name for name in named if b"fake_ray_grid" in name or name.startswith(b"sleep")]

        while found := left():
            assert time.monotonic() < since + GONE_S, found
            time.sleep(0.05)

    def check_goes_on(self, address: str) -> None:
        """The same command finishes what was left."""
        for path in self.folder.glob("at-*"):
            path.unlink()
        self.address = address
        first = self.records[0]
        self.go()
        self.start()
        self.check_ended(0, "ok ok ok")
        assert self.records[0] == first


@pytest.fixture
def grid(nodes: Nodes, mark: str, tmp_path: Path) -> Iterator[Grid]:
    made = Grid(folder=tmp_path, address=nodes.whole(), mark=mark)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()


@pytest.mark.slow
def test_a_grid_continues_after_its_head_died(nodes: Nodes, grid: Grid) -> None:
    grid.middle()
    nodes.end_head()
    lost = f"the head of the Ray cluster at {grid.address} is gone"
    grid.check_ended(1, "ok interrupted interrupted", lost)
    nodes.end_nodes()
    grid.check_goes_on(nodes.whole())


@pytest.mark.slow
def test_a_grid_continues_after_its_head_was_restarted(nodes: Nodes, grid: Grid) -> None:
    grid.middle()
    nodes.end_head()
    nodes.start_head(gcs_server_port=int(grid.address.rpartition(":")[2]))
    lost = f"the head of the Ray cluster at {grid.address} is gone"
    grid.check_said(1, "ok interrupted interrupted", lost)
    nodes.end_nodes()  # those of the old head, which the new one does not know, may go on
    grid.check_none_left(time.monotonic())
    grid.check_goes_on(nodes.whole())


@pytest.mark.slow
def test_a_grid_continues_after_all_nodes_died(nodes: Nodes, grid: Grid) -> None:
    grid.middle()
    nodes.end_nodes()
    told = "no node of the Ray cluster has a free CPU"
    grid.check_ended(1, "ok interrupted interrupted", told)
    grid.check_goes_on(nodes.whole())
