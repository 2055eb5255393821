"""`bench tensorboard`: it answers, says what is wrong, and leaves no process behind."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import environment
from bench.store import Store
from tests.made import made_record

PATIENCE_S = 120.0  # a busy machine is no fault of the command
COMMAND = [environment.python_module("bench")[0], "-m", "bench", "tensorboard"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    Store(root / "cpu_shapes_cpu").write(made_record())
    return root


def called(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def started(results: Path, tmp: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, str(results), "--rebuild", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp)},
        start_new_session=True,
    )


def of_session(session: int) -> Iterator[int]:
    """Living processes of a session, by what Linux says of each."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            yield int(path.parent.name)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_and_ends_with_no_process_left(
    results: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    process = started(results, tmp_path)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"1 run at (http://127\.0\.0\.1:\d+)/view \(Ctrl-C ends it\)\n", line)
        assert found, (line, process.stderr and process.stderr.read())
        with urllib.request.urlopen(f"{found[1]}/view", timeout=PATIENCE_S) as answer:
            assert answer.url == f"{found[1]}/#custom_scalars&_smoothingWeight=0"
            assert b"TensorBoard" in answer.read()
        process.send_signal(stop)
        said, error = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, error
    assert "Traceback" not in error
    deadline = time.monotonic() + PATIENCE_S
    while left := list(of_session(process.pid)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert not list(tmp_path.glob("bench-tensorboard-*"))
    assert said == ""


def test_no_event_files_are_told_with_what_to_do(tmp_path: Path) -> None:
    Store(tmp_path / "cpu_shapes_cpu").write(made_record())
    done = called(tmp_path, "--port", 0)
    assert done.returncode == 2
    assert done.stderr == (
        f"bench: there are no event files of 1 run under {tmp_path}: "
        "add --rebuild, which writes them from the records\n"
    )


def test_a_port_that_is_taken_is_told(results: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = called(results, "--rebuild", "--port", port)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"bench: port {port} is taken: name another with --port"
    )
    assert "Traceback" not in done.stderr


def test_an_address_of_another_machine_is_told(results: Path) -> None:
    done = called(results, "--rebuild", "--host", "192.0.2.1", "--port", 0)
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert told.startswith("bench: TensorBoard cannot listen on 192.0.2.1: Cannot assign")
