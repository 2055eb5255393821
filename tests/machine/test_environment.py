"""Machine and software: described without names of hosts, users or folders."""

import getpass
import json
import os
import platform
import re
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from bench import process
from bench.errors import UsageError
from bench.machine import environment, probe
from tests.checkout import ROOT


@pytest.fixture(autouse=True)
def _forget() -> None:
    environment.cpu_model.cache_clear()
    environment.code_version.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    command = folder / name
    command.write_text(f"#!{sys.executable}\nimport sys, os\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_describe_includes_software_and_hardware_without_host_or_folder() -> None:
    found = environment.describe("cpu")
    assert found["torch"] == str(torch.__version__)
    assert found["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] >= 1
    assert found["ram_gib"] > 0.1
    assert found["gpu"] is None
    for name in ("torchvision", "kornia", "timm"):
        assert found[name]
    text = msgspec.json.encode(environment.describe("cpu")).decode()
    assert platform.node() not in text or len(platform.node()) < 3
    assert str(Path.home()) not in text
    assert str(ROOT) not in text
    assert f"/{getpass.getuser()}" not in text


def test_the_commit_matches_the_checkout() -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert environment.code_version()["commit"] == done.stdout.strip()


def git(folder: Path, *arguments: str) -> None:
    line = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    subprocess.run(line, check=True)


def test_untracked_clean_and_dirty_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "environment.py"
    monkeypatch.setattr(environment, "__file__", str(file))
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of something else")
    file.write_text("first")
    assert environment.code_version() == {"commit": None, "dirty": None}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    environment.code_version.cache_clear()
    assert environment.code_version()["dirty"] is False
    environment.code_version.cache_clear()
    file.write_text("second")
    assert environment.code_version()["dirty"] is True


@pytest.mark.parametrize("status", ["sys.exit(1)", "signal.pause()"], ids=["fails", "hangs"])
def test_dirty_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str) -> None:
    script = f"import signal\nif 'status' in sys.argv: {status}\nprint('0123abc')"
    pretend(monkeypatch, tmp_path, "git", script)
    run = environment.run_briefly
    monkeypatch.setattr(environment, "run_briefly", lambda command: run(command, timeout_s=0.5))
    monkeypatch.setattr(environment, "run_command", lambda command: run(command).text)
    assert environment.code_version() == {"commit": "0123abc", "dirty": None}


def test_the_host_mark_is_distinct_and_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = environment.host_mark()
    assert mark == environment.host_mark() == environment.describe("cpu")["host"]
    assert re.fullmatch("[0-9a-f]{8}", mark)
    monkeypatch.setattr(platform, "node", lambda: "another")
    other = environment.host_mark()
    assert other != mark
    monkeypatch.setattr(Path, "read_text", lambda path: "another number")
    assert environment.host_mark() not in (mark, other)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-2-cores"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon-2-cores"),
    ],
)
def test_name_of_a_cpu(monkeypatch: pytest.MonkeyPatch, model: str, name: str) -> None:
    monkeypatch.setattr(environment, "cpu_model", lambda: model)
    monkeypatch.setattr(environment, "usable_cores", lambda: 2)
    assert environment.machine_name("cpu") == name


SMI = """
if "--id=1" not in sys.argv:
    sys.exit(6)
field = next(a for a in sys.argv if a.startswith("--query-gpu=")).split("=")[1]
print({"name": "NVIDIA H100 80GB HBM3", "driver_version": "580.1"}[field])
"""


def test_name_of_the_first_visible_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, "nvidia-smi", SMI)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert environment.machine_name("cuda") == "nvidia-h100-80gb-hbm3"
    assert environment.machine_names()[0] == "nvidia-h100-80gb-hbm3"
    assert environment.machine_names()[1] == environment.machine_name("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert environment.machine_names() == (environment.machine_name("cpu"),)


def test_commands_that_fail_give_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, "slow", "import time; time.sleep(30)")
    pretend(monkeypatch, tmp_path, "broken", "print('half'); sys.exit(1)")
    assert environment.run_command(["slow"], timeout_s=0.2) is None
    assert environment.run_command(["broken"]) is None
    assert environment.run_command(["no-such-command-anywhere"]) is None


def test_a_containers_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for text, cores in {"max 100000": 64, "350000 100000": 4, "10000 100000": 1}.items():
        monkeypatch.setattr(Path, "read_text", lambda path, text=text: text)
        assert process.usable_cores() == cores


def test_the_probe_works_in_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = environment.probe()
    assert found.torch == str(torch.__version__)
    assert found.cuda is torch.cuda.is_available()
    assert found.cuda or found.cuda_problem
    assert found.compiler or found.compiler_problem


def test_a_library_is_imported_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "slow_library.py").write_text("import time; time.sleep(0.2); DONE = True")
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    for library in ("slow_library", "broken_library", "no_such_library"):
        with process.import_in_background(library):
            assert not hasattr(sys.modules.get(library), "DONE")
    assert sys.modules["slow_library"].DONE
    assert "broken_library" not in sys.modules


def test_an_import_that_waits_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "stuck_library.py").write_text("import threading; threading.Event().wait(9)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process, "SILENCE_S", 1.0)
    monkeypatch.setattr(process, "LOOK_S", 0.1)
    with (
        pytest.raises(UsageError, match="importing stuck_library has done nothing for 1 s"),
        process.import_in_background("stuck_library"),
    ):
        pass


ANSWER = json.dumps({"torch": "9", "cuda": True})


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("os.kill(os.getpid(), 11)", "torch could not be tried: exit status -11"),
        ("import time; time.sleep(60)", "torch did not answer within 1 s"),
        ("sys.stderr.write('a\\nlibcudart.so: no such file'); sys.exit(1)", "libcudart.so"),
        (f"print('hello'); print('''{ANSWER}''')", ""),
    ],
)
def test_a_probe_that_crashes_hangs_or_prints_gives_a_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, problem: str
) -> None:
    pretend(monkeypatch, tmp_path, "python", script)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = environment.probe(timeout_s=1.0)
    assert problem in found.cuda_problem
    assert found.cuda is (problem == "")


def test_an_error_of_torch_becomes_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("The driver is too old (found version 12020). Please update.\nMore.")

    monkeypatch.setattr(torch, "ones", refuse)
    found = probe.probe_here()
    assert found.cuda_problem == "The driver is too old (found version 12020)"
    assert not found.cuda


def test_the_command_line_is_as_a_user_would_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path.home())
    arguments = [f"{home}/env/bin/bench", "run", "-k", "vgg and sgd", "--out", f"{home}/r"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert environment.command_line() == "bench run -k 'vgg and sgd' --out ~/r"
