"""Locales, terminals, users and folders in which a command may be started."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.machine import environment
from bench.store.store import Store
from pipelines import sources
from pipelines.sources import places
from pipelines.sources.errors import SourceError
from tests import checkout
from tests.checkout import ROOT
from tests.faults.permissions import as_ordinary_user
from tests.made import made_record


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with an odd name and a source outside ASCII."""
    folder = tmp_path_factory.mktemp("results") / "-of \n[red]"
    Store(folder).write(made_record(source="folder:/bilder/größe/結果"))
    return folder


def bench(
    *words: str, without: tuple[str, ...] = (), cwd: Path = ROOT, **settings: str
) -> "subprocess.CompletedProcess[bytes]":
    """Runs `bench` in a new process, as the script does."""
    setting = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-P", "-m", "bench", *words],
        cwd=cwd,
        env=setting | {"PYTHONPATH": str(ROOT)} | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )


ASCII = {
    "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii",
}  # fmt: skip
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "ascii": ((), ASCII),
    "posix": ((), {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "latin": ((), {"PYTHONIOENCODING": "latin-1"}),
    "no such locale": ((), {"LC_ALL": "xx_YY.nonsense", "LANG": "xx_YY.nonsense"}),
    "no home and no terminal": (("HOME", "TERM", "XDG_CACHE_HOME"), {}),
    "dumb and narrow": ((), {"TERM": "dumb", "COLUMNS": "1", "LINES": "1", "NO_COLOR": "1"}),
    "absurd": ((), {"COLUMNS": "-5", "TERM": "nonsense", "TZ": "nonsense", "TMPDIR": "/nowhere"}),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case in ("ascii", "latin") else pytest.mark.slow)
        for case in ENVIRONMENTS
    ],
)
def test_tables_can_be_printed_in_any_environment(results: Path, case: str) -> None:
    without, settings = ENVIRONMENTS[case]
    done = bench("table", str(results), without=without, **settings)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"resnet18" in done.stdout
    assert b"\x1b" not in done.stdout
    if case == "latin":
        assert b"gr\xf6\xdfe/\\u7d50\\u679c" in done.stdout


@pytest.mark.parametrize(
    ("verb", "columns"),
    [("table", "0"), ("table", "1"), ("table", "7"), ("table", "100000"), ("show", "1")],
)
def test_any_terminal_width_works(
    results: Path, monkeypatch: pytest.MonkeyPatch, verb: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    words = ["resnet18/sgd/flip_crop/kornia"] if verb == "show" else []
    done = CliRunner().invoke(app.app, [verb, *words, str(results)])
    assert done.exit_code == 0, (done.output, done.exception)


def test_a_deleted_current_folder_is_one_sentence(tmp_path: Path) -> None:
    code = (
        "import os, sys; from bench.cli.app import main; os.mkdir('gone'); os.chdir('gone'); "
        "os.rmdir('../gone'); sys.argv = ['bench', 'list']; main()"
    )
    done = checkout.python(code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("bench: the current folder has been deleted: change to")
    assert done.stderr.count("\n") == 1


def test_an_undecodable_argument_is_one_sentence(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    done = bench("run", "--out", path, LC_ALL="C.UTF-8", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("bench: the argument b'")
    assert "is not valid in the encoding of this locale" in line
    assert list(tmp_path.iterdir()) == []


def test_closed_standard_output_is_no_error(results: Path) -> None:
    shell = f'exec "{sys.executable}" -m bench table "{results}" --format csv >&- 2>/dev/null'
    done = subprocess.run(["/bin/sh", "-c", shell], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0


def test_files_are_as_private_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Store(tmp_path / "results").write(made_record())
    finally:
        os.umask(before)
    made = list((tmp_path / "results").rglob("*"))
    assert made
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the user database, as in many containers."""
    import pwd

    def unknown(number: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "XDG_CACHE_HOME", places.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_it_asks_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for words in (["data", "shapes"], ["data", "shapes", "--data-dir", "~/images"]):
        done = CliRunner().invoke(app.app, words)
        assert done.exit_code == 2, (done.output, done.exception)
        (line,) = done.stderr.splitlines()
        for way in ("has no home folder", "--data-dir", places.VARIABLE, "HOME"):
            assert way in line
    monkeypatch.setenv(places.VARIABLE, str(tmp_path))
    assert sources.default_data_dir() == tmp_path
    monkeypatch.setattr("sys.argv", ["bench", "run"])
    assert environment.command_line() == "bench run"


def test_an_undecodable_data_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.VARIABLE, os.fsdecode(b"/data/\xff"))
    with pytest.raises(SourceError, match="is not valid UTF-8"):
        sources.default_data_dir()


def read_only(folder: Path) -> Path:
    (folder / "locked").mkdir(mode=0o555)
    return folder / "locked" / "results"


def links_in_circles(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a" / "results"


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "read-only": (read_only, "Permission denied; permit it, or name another folder"),
    "too long": (lambda folder: folder / ("x" * 300), "File name too long; give it a shorter name"),
    "links": (links_in_circles, "Too many levels of symbolic links"),
    "device": (lambda folder: Path("/dev/null"), "Not a directory"),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_folder_that_cannot_be_used_is_refused_before_any_training(
    refused: Callable[..., str], tmp_path: Path, case: str
) -> None:
    make, reason = UNUSABLE[case]
    out = make(tmp_path)
    with as_ordinary_user():
        line = refused("run", "--grid", "smoke", "--device", "cpu", "--out", str(out), "--quiet")
    assert str(out) in line
    assert reason in line
    assert "name" in line  # another folder, or a shorter name
