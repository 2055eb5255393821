"""Machines that lack something, lie, or change under a run (faults 21 to 24 and 30)."""

import ast
import csv
import io
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import cli, commands, doctor, doctor_gpu, doctor_libraries, environment
from bench import execute as executing
from bench import plan as planning
from bench.doctor_gpu import Smi
from bench.draft import Draft, Job
from bench.environment import Probe
from bench.prepare import Shared
from bench.run import train
from bench.store import Store
from bench.tensorboard import RunLog
from pipelines import compiling, sources
from tests.made import made_record, made_run
from tests.test_run import CELL

ROOT = Path(__file__).parents[2]
GIVE_UP_S = 20.0
NO_GPU = Probe(
    torch="2.14", torch_cuda="13.0", cuda_problem="Found no NVIDIA driver on your system"
)
GPU = Probe(
    torch="2.14", torch_cuda="13.0", cuda=True, gpu="NVIDIA H100", capability="9.0",
    memory_gib=79.2, bf16=True, compiler=True,
)  # fmt: skip
SMI = """
case "$*" in
  *name,driver_version*) echo "NVIDIA H100 80GB HBM3, 580.95.05" ;;
  *=name*) echo "NVIDIA H100 80GB HBM3" ;;
  *=driver_version*) echo "580.95.05" ;;
  *compute-apps*) ;;
  *) echo "| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05   CUDA Version: 13.0 |" ;;
esac
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an nvidia-smi that is a shell script first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(doctor_gpu, "PATIENCE_S", 0.5)

    def put(script: str) -> None:
        path = folder / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


# Fault 21: no GPU.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Probe], None]:
    """A machine of a kind, on which `shapes` is there and nothing is trained."""
    monkeypatch.chdir(tmp_path)
    made = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        resolve=lambda *args, **kwargs: ("shapes", ""),
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    monkeypatch.setattr(planning, "sources", made)
    monkeypatch.setattr(executing, "LocalExecutor", lambda **_: pytest.fail("it trained"))

    def be(probe: Probe) -> None:
        monkeypatch.setattr(planning.environment, "probe", lambda: probe)

    return be


def plan(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["run", "--grid", "smoke", "--dry-run", *words])


def test_without_a_gpu_auto_takes_the_cpu_and_says_so_aloud(
    machine: Callable[[Probe], None],
) -> None:
    """Fault 21: a framed notice, and every cell is of scale cpu."""
    machine(NO_GPU)
    done = plan()
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert f"NOTICE: No GPU ({NO_GPU.cuda_problem}): running on the CPU at scale 'cpu'" in said
    assert "_shapes_cpu" in said


@pytest.mark.parametrize("verb", ["run", "loaders"])
def test_without_a_gpu_cuda_is_refused_with_what_the_doctor_says(
    machine: Callable[[Probe], None],
    smi: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    """Fault 21: exit code 2, the doctor's lines, nothing written."""
    machine(replace(NO_GPU, cuda_problem="The NVIDIA driver on your system is too old"))
    smi(SMI.replace("13.0", "12.4"))
    done = CliRunner().invoke(cli.app, [verb, "--device", "cuda", "--source", "shapes"])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert "580.95.05 serves CUDA up to 12.4, torch was built for 13.0 -> update the driver" in line
    assert "pip install --force-reinstall torch torchvision --index-url" in line
    assert not Path("results").exists()


# Faults 22 and 23: drivers, and what nvidia-smi says of them.

SAID = {
    "hangs": ("sleep 60 & wait", "nvidia-smi hangs: it did not answer within 0.5 s", "reboot"),
    "hangs deaf": ("trap '' TERM INT; sleep 60; sleep 60", "nvidia-smi hangs", "reboot"),
    "mismatch": (
        "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
        "Driver/library version mismatch",
        "reboot",
    ),
    "module": (
        'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."'
        "; exit 9",
        "couldn't communicate",
        "modprobe nvidia",
    ),
    "rubbish": (
        r"printf '\033[2J\377\376 rubbish, \n more'",
        "which names no GPU",
        "type -a nvidia-smi",
    ),
    "much": ("head -c 100000 /dev/zero | tr '\\0' ','", "which names no GPU", "type -a nvidia-smi"),
    "nothing": ("exit 0", "which names no GPU", "type -a nvidia-smi"),
    "dies": ("kill -11 $$", "nvidia-smi fails", "type -a nvidia-smi"),
}


@pytest.mark.parametrize("case", SAID)
def test_nvidia_smi_that_says_nothing_of_use_is_told_and_mended(
    smi: Callable[[str], None], case: str
) -> None:
    """Fault 22: which fault it is, the line for it, and no waiting."""
    script, message, advice = SAID[case]
    smi(script)
    start = time.monotonic()
    found = doctor.look()
    check = doctor.gpu(NO_GPU, found)
    assert time.monotonic() - start < GIVE_UP_S
    assert check.status == "fail"
    assert message in check.message
    assert check.message.isprintable()
    assert advice in check.advice


def test_a_driver_without_a_gpu_is_no_failure(smi: Callable[[str], None]) -> None:
    """Fault 22: runs use the CPU; a container is told how it gets the GPU."""
    smi("echo 'No devices were found'; exit 6")
    check = doctor.gpu(NO_GPU, doctor.look())
    assert check.status == "warn"
    assert "docker run --gpus all" in check.advice


@pytest.mark.parametrize("script", [r"printf '\033]0;x\007\377'", "yes | head -c 5000", "sleep 60"])
def test_rubbish_becomes_no_name_of_a_machine(
    smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Fault 22: results are filed under torch's name of the GPU instead."""
    ask = commands.ask
    monkeypatch.setattr(environment, "ask", lambda command, timeout_s: ask(command, timeout_s=0.5))
    monkeypatch.setattr(environment, "probe", lambda: GPU)
    smi(script)
    assert environment.machine_name("cuda") == "nvidia-h100"


@pytest.mark.parametrize(
    ("able", "status"), [("12.9", "fail"), ("13.0", "ok"), ("13.7", "ok"), ("99.1", "ok")]
)
def test_a_driver_newer_than_torch_works_and_an_older_one_is_told(
    smi: Callable[[str], None], able: str, status: str
) -> None:
    """Faults 22 and 23: nothing is refused for being new."""
    smi(SMI.replace("13.0", able).replace("580.95.05", f"{able}.99"))
    found = doctor.look()
    assert (found.driver, found.cuda) == (f"{able}.99", able)
    check = doctor.driver(GPU, found)
    assert check is not None
    assert check.status == status
    if status == "fail":
        assert "update the driver, or take a torch for CUDA 12: pip install" in check.advice


HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name in {names!r} else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


@contextmanager
def hidden(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[None]:
    """Modules that no process started from here can import."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HIDE.format(names=names))
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


def test_dali_that_is_absent_costs_nothing_without_a_gpu_and_has_its_line_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: its cells are skipped, which the doctor says."""
    with hidden(tmp_path / "hide", monkeypatch, "nvidia.dali"):
        without = doctor_libraries.dali(NO_GPU, Smi(missing=True))
    assert without.status == "ok"
    assert "its cells are skipped: dali is not installed" in without.message


@pytest.mark.parametrize(
    ("wheels", "cuda", "advice"),
    [
        ("nvidia-dali-cuda130", "12.4",
         "pip uninstall --yes nvidia-dali-cuda130 && pip install nvidia-dali-cuda120"),
        ("nvidia-dali-cuda130", "13.0", "pip install --force-reinstall nvidia-dali-cuda130"),
        ("", "12.8", "pip install nvidia-dali-cuda120"),
        ("", "13.1", "pip install nvidia-dali-cuda130"),
        ("", "", "pip install nvidia-dali-cuda130"),
        ("nvidia-dali-cuda110", "14.2",
         "pip uninstall --yes nvidia-dali-cuda110 && pip install nvidia-dali-cuda130"),
        ("", "11.8", "no DALI is made for CUDA 11.8: update the driver"),
    ],
)  # fmt: skip
def test_dali_for_another_cuda_gets_the_line_that_brings_the_right_one(
    monkeypatch: pytest.MonkeyPatch, wheels: str, cuda: str, advice: str
) -> None:
    """Fault 22: the wheel follows the driver's CUDA."""
    said = f"it fails when it is first used (CUDA driver version is insufficient)\n{wheels}\n"
    done = SimpleNamespace(returncode=0, stdout=said, stderr="")
    monkeypatch.setattr(doctor_libraries, "python", lambda code: done)
    check = doctor_libraries.dali(GPU, Smi(gpu="NVIDIA H100", driver="1", cuda=cuda))
    assert check.status == "warn"
    assert "CUDA driver version is insufficient" in check.message
    assert check.advice == advice


def test_torch_that_is_missing_is_one_sentence_and_the_doctor_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: a set-up without its main library."""
    with hidden(tmp_path / "hide", monkeypatch, "torch"):
        done = subprocess.run(
            [sys.executable, "-m", "bench", "list"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        probe = environment.probe()
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "No module named 'torch'" in line
    assert "bench doctor" in line
    check = doctor.torch(probe)
    assert (check.status, "pip install 'torch>=2.11'" in check.advice) == ("fail", True)


# Fault 24: torch.compile.


def no_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def broken_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = folder / "g++"
    compiler.write_text(
        "#!/bin/sh\necho \"g++: fatal error: cannot execute 'cc1plus'\" >&2\nexit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def broken_by_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_compiler(folder, monkeypatch)
    monkeypatch.setenv("CXX", str(folder / "g++"))


def no_headers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: str(folder))


@pytest.mark.parametrize(
    ("fault", "message", "advice"),
    [
        (no_compiler, "no C++ compiler found", "apt-get install g++ python3-dev"),
        (broken_compiler, "cannot execute 'cc1plus'", "apt-get install --reinstall g++"),
        (broken_by_choice, "cannot execute 'cc1plus'", "unset CXX, which names this compiler"),
        (no_headers, "Python.h", "apt-get install python3-dev"),
    ],
)
def test_what_torch_compile_lacks_is_told_with_its_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    message: str,
    advice: str,
) -> None:
    """Faults 22 and 24: no compiler, one that does not work, no Python.h."""
    if fault is no_headers and shutil.which("g++") is None:
        pytest.skip("no g++ here")
    fault(tmp_path, monkeypatch)
    check = doctor.compiler(Probe(compiler_problem=compiling.compiler_problem(gpu=False)))
    assert check.status == "warn"
    assert message in check.message
    assert check.advice.startswith(advice)
    assert check.advice.endswith("--no-compile)")


def test_the_reason_that_torch_gives_is_shown_and_not_its_last_hint() -> None:
    """Fault 24: torch ends its errors with a hint about a variable, which is no reason."""
    stderr = (
        'Traceback (most recent call last):\n  File "x", line 1\n'
        "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found\n\n"
        "Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace\n"
    )
    done = SimpleNamespace(returncode=1, stderr=stderr, stdout="")
    said = doctor_libraries.last_words(done)  # type: ignore[arg-type]
    assert said.endswith("No working C++ compiler found")


def test_compile_that_cannot_work_on_a_gpu_falls_back_aloud_and_marks_the_cells(
    machine: Callable[[Probe], None],
) -> None:
    """Fault 24: eager cells are other cells, with other ids; --compile insists and is refused."""
    lacking = replace(GPU, compiler=False, compiler_problem="Triton is not installed")
    machine(lacking)
    done = plan()
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "torch.compile cannot work here (Triton is not installed): nets run uncompiled" in said
    refused = plan("--compile")
    assert refused.exit_code == 2
    assert "torch.compile cannot work here: Triton is not installed" in refused.stderr
    settings = [
        planning.choose_setting(planning.Options(), probe, "cuda") for probe in (GPU, lacking)
    ]
    with_it, without = (planning.choose_cells(planning.Options(grid="smoke"), s) for s in settings)
    assert {cell.compile for cell in with_it} == {True}
    assert {cell.compile for cell in without} == {False}
    assert "torch.compile" not in " ".join(plan("--no-compile").stdout.split())


# Faults 18 and 16: no data, no space, no temporary folder.


def test_no_space_for_results_or_data_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults 16 and 18: how much there is, how much it takes, and what to do."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**28))
    disk, data = doctor.disk(tmp_path), doctor.data(tmp_path / "data")
    assert (disk.status, data.status) == ("warn", "warn")
    assert "0.2 GiB are free" in disk.message
    assert "0.2 GiB are free; it takes 0.6 GiB" in data.message
    assert "--out" in disk.advice
    assert data.advice.startswith("make room, or bench data cifar10")


def test_a_temporary_folder_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: torch.compile needs one."""
    missing = tmp_path / "missing"
    monkeypatch.setenv("TMPDIR", str(missing))
    monkeypatch.setattr(doctor.tempfile, "tempdir", None)
    check = doctor.temporary()
    assert check.status == "warn"
    assert f"TMPDIR={missing} cannot be written" in check.message
    assert check.advice.startswith(f"mkdir -p {missing}")
    monkeypatch.setattr(doctor.tempfile, "tempdir", None)
    monkeypatch.setattr(doctor.tempfile, "_candidate_tempdir_list", lambda: [str(missing)])
    monkeypatch.chdir(tmp_path)
    assert doctor.temporary().status == "fail"


# Fault 30: clocks, zones and commas.


def test_a_clock_that_jumps_changes_no_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 30: the time of day goes back an hour at every look while a run trains."""
    hours = count(1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600.0 * next(hours))
    data_dir = str(sources.default_data_dir())
    run = replace(made_run(), cell=replace(CELL, epochs=2))
    draft = Draft(job=Job(run=run, folder=str(tmp_path), data_dir=data_dir))
    log = RunLog(tmp_path / "events", on_error=pytest.fail)
    start = time.monotonic()
    train(draft, Shared(), log.point)
    record = draft.record("ok")
    log.finish(record)
    passed_s = time.monotonic() - start
    timings = [value for value in vars_of(record.timings) if value is not None]
    assert timings
    assert all(0.0 <= value <= passed_s for value in timings), record.timings
    assert 0.0 < record.curve[0].train_s < record.curve[1].train_s <= passed_s
    assert next(hours) > 1, "nobody looked at the time of day, so nothing was tried"


def vars_of(timings: Any) -> list[float | None]:
    return [getattr(timings, name) for name in timings.__dataclass_fields__]


TIME_OF_DAY = {"bench/tensorboard/events.py", "bench/leftovers.py"}  # dates, and ages of files


def test_only_dates_are_taken_from_the_time_of_day() -> None:
    """Fault 30: every duration comes from a clock that cannot be set."""
    found = set()
    for package in ("bench", "pipelines", "architectures"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.time":
                    found.add(str(path.relative_to(ROOT)))
    assert found == TIME_OF_DAY


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "UTC", "nonsense"])
def test_records_tell_the_time_in_utc_wherever_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """Fault 30: a change of the time zone between two runs changes nothing."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        draft = Draft(job=Job(run=made_run(), folder=str(tmp_path), data_dir=""))
        started = datetime.fromisoformat(draft.record("ok").started)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert started.utcoffset() is not None
    assert started.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60


@pytest.fixture(scope="module")
def commas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A locale with comma decimals, made for the tests where the system has the sources."""
    if shutil.which("localedef") is None:
        pytest.skip("no localedef here")
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if not (folder / "de_DE.UTF-8").exists():
        pytest.skip(f"localedef made no locale: {done.stderr.decode(errors='replace')}")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}


IN_LOCALE = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")  # as a library may do it
assert locale.localeconv()["decimal_point"] == ",", locale.setlocale(locale.LC_ALL)
from bench.cli import main
sys.argv = ["bench", "table", sys.argv[1], "--format", sys.argv[2]]
main()
"""


@pytest.mark.parametrize("form", ["csv", "md"])
def test_figures_have_points_where_the_locale_has_commas(
    tmp_path: Path, commas: dict[str, str], form: str
) -> None:
    """Fault 30: a table means the same in every country."""
    Store(tmp_path).write(made_record(accuracy=0.625))
    done = subprocess.run(
        [sys.executable, "-c", IN_LOCALE, tmp_path, form],
        cwd=ROOT, env=os.environ | commas, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if form == "md":
        assert "62.50" in done.stdout
        return
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert "0.625" in row.values() or "62.5" in row.values(), row
