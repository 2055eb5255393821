"""Runs that end badly: each becomes a row with its reason, and the others go on."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench.executors.local import cause_of_death, tail
from tests import checkout

FAULTS = {
    "raises": "raise ValueError('boom in forward')",
    "runs_out": "raise torch.OutOfMemoryError('made for the test')",
    "is_killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "segfaults": "ctypes.string_at(0)",
    "hangs": "time.sleep(600)",
    "gives_nan": "return self.head(x.flatten(1)) * float('nan')",
}

NET = """
import ctypes, os, signal, time
import torch
from torch import nn
from architectures import Architecture, Spec

class Net(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.head = nn.Linear(spec.channels * spec.image_size**2, spec.classes)

    def forward(self, x):
        {body}
        return self.head(x.flatten(1))

entry = Architecture(
    name="{name}", why="a test", reference="none", build=Net, parameters=30730, default=True
)
"""


def net(name: str, body: str) -> dict[str, str]:
    return {f"architectures/{name}.py": NET.format(name=name, body=body)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {key: text for name, body in FAULTS.items() for key, text in net(name, body).items()}
    return checkout.make(tmp_path_factory.mktemp("copy"), files | net("works", "pass"))


def arguments(names: str, *more: str) -> list[str]:
    chosen = f"({names}) and /sgd/none/kornia"
    return ["run", "--source", "shapes", "--device", "cpu", "--epochs", "1", "-k", chosen, *more]


def records(copy: Path, out: str) -> dict[str, dict[str, object]]:
    found = [json.loads(path.read_text()) for path in (copy / out).glob("*/records/*.json")]
    return {record["cell"]["architecture"]: record for record in found}


def test_every_fault_becomes_a_status_and_nothing_stops_the_rest(copy: Path) -> None:
    names = " or ".join([*FAULTS, "works"])
    done = checkout.bench(copy, *arguments(names, "--out", "faults", "--timeout", "8"))
    assert done.returncode == 1, done.stderr
    found = records(copy, "faults")
    assert {name: record["status"] for name, record in found.items()} == {
        "raises": "crashed",
        "runs_out": "oom",
        "is_killed": "crashed",
        "segfaults": "crashed",
        "hangs": "timeout",
        "gives_nan": "diverged",
        "works": "ok",
    }
    messages = {
        name: record["error"] and record["error"]["message"] for name, record in found.items()
    }
    assert messages["raises"] == "boom in forward"
    assert "boom in forward" in found["raises"]["error"]["traceback"]
    assert "signal 9" in messages["is_killed"]
    assert "signal 11" in messages["segfaults"]
    assert "8 s" in messages["hangs"]
    assert "nan in epoch 1" in messages["gives_nan"]
    table = checkout.bench(copy, "table", "faults", "--format", "md").stdout
    for name in FAULTS:
        assert name in table

    again = checkout.bench(copy, *arguments(names, "--out", "faults", "--timeout", "8"))
    assert again.returncode == 1
    assert records(copy, "faults") == found


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_leaves_a_record_and_no_process(copy: Path, stop: signal.Signals) -> None:
    out = f"stopped-{stop.name}"
    line, environment = checkout.command(copy, *arguments("works or hangs", "--out", out))
    process = subprocess.Popen(
        line, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        worker = wait_for_worker_in_its_hang(copy, out, process.pid)
        process.send_signal(stop)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert b"bench run" in output
    found = records(copy, out)
    assert found["works"]["status"] == "ok"
    assert found["hangs"]["status"] == "interrupted"
    assert not Path(f"/proc/{worker}").exists()


def test_a_killed_parent_takes_its_worker_along(copy: Path) -> None:
    line, environment = checkout.command(copy, *arguments("works or hangs", "--out", "killed"))
    process = subprocess.Popen(
        line, cwd=copy, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    worker = wait_for_worker_in_its_hang(copy, "killed", process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(worker)
    assert records(copy, "killed")["works"]["status"] == "ok"


def wait_for_worker_in_its_hang(copy: Path, out: str, parent: int) -> int:
    """The worker's process id, once the run that hangs has begun (another run is done before)."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        children = children_of(parent)
        if "works" in records(copy, out) and children:
            time.sleep(3)
            return children[0]
        time.sleep(0.2)
    raise AssertionError("the run never got to the net that hangs")


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_cause_of_death_names_the_signal() -> None:
    assert "signal 11 SIGSEGV" in cause_of_death(-signal.SIGSEGV)
    assert "out of host memory?" in cause_of_death(-signal.SIGKILL)
    assert "exit code 3" in cause_of_death(3)


def test_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_text("\n".join(map(str, range(100))))
    assert tail(tmp_path / "a.log", lines=2) == "98\n99"
    assert os.getpid() not in children_of(os.getpid())
