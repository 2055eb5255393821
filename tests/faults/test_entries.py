"""Entries that cannot be used, and names that nothing has.

One copy of the packages holds a broken file of every sort, a default optimizer that cannot be
imported, and a DALI that can be imported and fails when it is first used. One grid is run in it,
into a folder with an odd name.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.machine.environment import Probe
from pipelines import building, sources
from pipelines.catalog import Unavailable
from pipelines.dali_ops import trial
from tests import checkout
from tests.made_device import device_is
from tests.pipelines.test_dali import noise

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)
ENTRY = """
from architectures import Architecture
net = Architecture(name={name!r}, why="a test", reference="none", build=None, parameters=1)
"""
BROKEN = {
    "syntax": ("def (", "SyntaxError"),
    "lacking": ("import a_library_that_nobody_has", "No module named 'a_library_that_nobody_has'"),
    "ending": ("import sys; sys.exit(3)", "it ends the program when it is imported"),
    "raising": ("raise RuntimeError('in\\ntwo lines')", "RuntimeError: in two lines"),
    "recursing": ("def f(): f()\nf()", "RecursionError"),
    "numbered": (ENTRY.format(name=7), "has the name 7"),
    "wanting": (
        "from architectures import Architecture\nnet = Architecture(name='x')",
        "TypeError",
    ),
    "twice": (ENTRY.format(name="cnn2"), "the name 'cnn2' is taken by the file plain_cnn.py"),
    "latin": ("name = '\udce9'\n", "SyntaxError"),  # a byte that is no UTF-8
}
FAKE_DALI = """
class Pipeline:
    def __init__(self, **options): ...
    def __enter__(self): return self
    def __exit__(self, *error): ...
    def set_outputs(self, *outputs): ...
    def build(self):
        raise RuntimeError("CUDA driver version is insufficient\\nfor CUDA runtime version")
"""
ALL_THE_SAME = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
OUT = f"-of 結果 \n[red]{'x' * 150}"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What the grid in the copy left."""

    folder: Path
    done: "subprocess.CompletedProcess[str]"
    records: dict[str, Any]


def bench(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line, environment = checkout.command(folder, *arguments)
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(folder / "fake")])
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages with the broken files."""
    folder = tmp_path_factory.mktemp("copy")
    checkout.make(folder, {})
    for name, (text, _) in BROKEN.items():
        path = folder / "architectures" / f"{name}.py"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "bench" / "optimizers" / "muon.py").write_text("import a_library_that_nobody_has\n")
    dali = folder / "fake" / "nvidia" / "dali"
    dali.mkdir(parents=True)
    (dali / "__init__.py").write_text(FAKE_DALI)
    (dali.parent / "__init__.py").write_text(ALL_THE_SAME)
    (dali / "fn.py").write_text("def constant(**options): ...\n")
    return folder


@pytest.fixture(scope="module")
def ran(copy: Path) -> Ran:
    """The smoke grid's cells that need the broken parts, and one that does not."""
    select = "muon or dali or torchvision_batch"
    words = ["run", "--grid", "smoke", "-k", select, "--source", "shapes", "--device", "cpu"]
    done = bench(copy, *words, "--out", OUT)
    files = sorted((copy / OUT).rglob("records/*.json"))
    records = [json.loads(file.read_text()) for file in files]
    return Ran(
        folder=copy, done=done, records={record["cell"]["pipeline"]: record for record in records}
    )


def test_broken_files_are_listed_with_their_reasons_and_hide_nothing(copy: Path) -> None:
    """Syntax errors, lacking libraries, ends of the program, entries that are none."""
    done = bench(copy, "list", "architectures")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    for name, (_, reason) in BROKEN.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert "not usable here: " in line
        assert reason in line, line
    for name in ("resnet18", "cnn2", "vit_tiny"):
        assert any(line.split()[:1] == [name] for line in lines)


def test_a_grid_that_needs_a_broken_entry_marks_its_cells_and_runs_the_others(ran: Ran) -> None:
    """Skipped with the reason, and the reason is in the record."""
    assert ran.done.returncode == 0, ran.done.stderr + ran.done.stdout
    record = _of(ran, "torchvision[")
    assert record["status"] == "skipped"
    assert "optimizer 'muon' cannot be used here" in record["error"]["message"]
    assert "a_library_that_nobody_has" in record["error"]["message"]
    assert ran.records["torchvision_batch"]["status"] == "ok"


def test_dali_that_fails_when_it_is_first_used_is_skipped_and_others_run(ran: Ran) -> None:
    """A DALI for another CUDA is no crash; the reason says what DALI said."""
    record = ran.records["dali"]
    assert record["status"] == "skipped", record["error"]
    assert "it fails when it is first used" in record["error"]["message"]
    assert "CUDA driver version is insufficient" in record["error"]["message"]
    assert "bench doctor" in record["error"]["message"]


def test_a_results_folder_of_any_name_works(ran: Ran) -> None:
    """A leading dash, blanks, any script, a line break, markup, 160 letters."""
    table = bench(ran.folder, "table", "--format", "csv", "--", OUT)
    assert table.returncode == 0, table.stderr
    assert "torchvision_batch" in table.stdout
    assert (ran.folder / OUT).is_dir()
    assert not (ran.folder / "results").exists()
    assert "Traceback" not in ran.done.stderr


def _of(ran: Ran, start: str) -> Any:
    (record,) = [record for name, record in ran.records.items() if name.startswith(start)]
    return record


# DALI in this process.


@pytest.fixture
def _fresh() -> Any:
    trial.fault.cache_clear()
    yield
    trial.fault.cache_clear()


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("libcudart.so.12: cannot open shared object file"), "cannot be imported"),
        (OSError("libnvimgcodec: wrong ELF class"), "cannot be imported"),
        (RuntimeError("no kernel image is available\nstack"), "fails when it is first used"),
    ],
)
@pytest.mark.parametrize("pipeline", ["dali", "dali[dynamic]"])
def test_dali_that_does_not_work_here_is_unavailable_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, pipeline: str
) -> None:
    """Whichever way it fails, and in both modes."""

    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(trial, "import_module", refuse)
    with pytest.raises(Unavailable) as caught:
        building.build(pipeline, noise(), "none", batch_size=4)
    assert said in str(caught.value)
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)


# Names that nothing has.

ASKED_WRONGLY = [
    (["--grid", "smok"], "did you mean smoke?"),
    (["--architecture", "resnt18"], "did you mean resnet18"),
    (["--optimizer", "adamv"], "did you mean adam"),
    (["--augmentation", "flip_corp"], "did you mean flip_crop"),
    (["--pipeline", "natve"], "did you mean native?"),
    (["--pipeline", "torchvision[worker=2]"], "did you mean workers?"),
    (["--source", "cifar11"], "did you mean cifar10"),
    (["--device", "cud"], "did you mean cuda"),
    (["--scale", "ful"], "did you mean full?"),
    (["--precision", "bf17"], "did you mean bf16"),
    (["-k", "resnt18"], "did you mean resnet18"),
    (["-k", "resnet18 adn sgd"], "did you mean and?"),
    (["-k", "resnet18 and not resnet18"], "matches none"),
    (["-k", "(resnet18"], "a bracket is not closed"),
    (["--set", "optimizr.lr=0.1"], "did you mean optimizer.lr"),
    (["--set", "optimizer.lr"], "optimizer.lr"),
    (["--set", "optimizer.lr=nan"], "optimizer.lr"),
    (["--recipes", "nowhere.json"], "nowhere.json cannot be read"),
    (["--seeds", "0"], "--seeds is at least 1"),
    (["--seeds", "-3"], "--seeds is at least 1"),
    (["--seeds", "two"], "Invalid value for '--seeds'"),
    (["--epochs", "0"], "--epochs is at least 1"),
    (["--target", "90"], "--target is a share in (0, 1]"),
    (["--seds", "2"], "No such option: --seds"),
]


@pytest.mark.parametrize(
    ("words", "said"), ASKED_WRONGLY, ids=[" ".join(w) for w, _ in ASKED_WRONGLY]
)
def test_what_is_asked_wrongly_is_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    """Exit code 2, the nearest name, no traceback, no file."""
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, NO_GPU)
    monkeypatch.setattr(sources, "load", lambda *args, **kwargs: pytest.fail("it looked for data"))
    done = CliRunner().invoke(app.app, ["run", "--source", "shapes", "--device", "cpu", *words])
    assert done.exit_code == 2, (done.output, done.exception)
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
