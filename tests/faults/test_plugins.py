"""Plugins that cannot be used: one sentence, exit code 2, nothing is written.

The quick tier tries every bad name with `bench run`, the slow tier with the other verbs too.
"""

import os
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.grid import grids, registry
from bench.grid import plan as planning
from bench.grid.plugins import used
from bench.machine.environment import Probe
from pipelines import importing
from tests.made_device import device_is
from tests.made_plugins import net, write

GRID = (
    "from bench.grid.grids import Grid\ngrid = Grid(name={name!r}, why='a test', cells={cells})\n"
)
LIBRARY = (
    "from pipelines.base import Library\n"
    "library = Library(name={name!r}, why='a test', build=print, ops={{}})\n"
)
BROKEN = {
    "unclosed": ("raise RuntimeError('in\n", "SyntaxError"),
    "raises": ("raise RuntimeError('in\\ntwo lines')", "RuntimeError: in two lines"),
    "exits": ("import sys; sys.exit(0)", "it ends the program when it is imported"),
    "syntax": ("def (", "SyntaxError"),
    "latin": ("name = '\udce9'\n", "SyntaxError"),
    "zero": ("a = 1\0", "source code string cannot contain null bytes"),
    "lacks": ("import a_library_that_nobody_has", "No module named 'a_library_that_nobody_has'"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "nothing": ("answer = 42\n", "it defines no entry: entries are objects of Architecture"),
    "empty": ("", "it defines no entry"),
    "wanting": ("from architectures import Architecture\nArchitecture(name='x')", "TypeError"),
    "numbered": (net(7), "has the name 7"),  # type: ignore[arg-type]
    "spaced": (net("my net"), "has the name 'my net'"),
    "unreasoned": (net(why=3), "the `why` of team_net is no sentence"),
    "versioned": (net(version="2"), "the version of the Architecture team_net is not a"),
    "unbuilt": (net().replace("lambda spec: None", "3"), "cannot be built: 3 is not callable"),
    "taken": (net("resnet18"), "its architecture is taken by architectures/resnet.py"),
    "twice": (net() + net().replace("net =", "other ="), "is taken by another one in twice.py"),
    "grid": (GRID.format(name="smoke", cells="list"), "its grid is taken by bench/grid/grids.py"),
    "capital": (LIBRARY.format(name="Mirrors"), "needs a name of lower-case letters,"),
    "library": (
        LIBRARY.format(name="kornia"), "'kornia' of its pipeline is taken by pipelines/kornia.py"
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine without a GPU where nothing is fetched; no entry may stay behind."""
    sources = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        resolve=lambda asked, data_dir, report: (asked, ""),
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    monkeypatch.setattr(planning, "sources", sources)
    device_is(monkeypatch, Probe(cuda_problem="none"))
    monkeypatch.chdir(tmp_path)
    known = set(registry.CATALOGS["architectures"].entries)
    yield
    assert set(registry.CATALOGS["architectures"].entries) == known
    assert not grids.JOINED


def refused(line: str) -> str:
    """The one sentence of a command that stops with exit code 2."""
    done = CliRunner().invoke(app.app, shlex.split(line)[1:])
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    return str(said)


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_plugin_is_refused(name: str, tmp_path: Path) -> None:
    text, reason = BROKEN[name]
    (tmp_path / f"{name}.py").write_text(text, errors="surrogateescape")
    said = refused(f"bench run --plugin {name}.py --grid smoke --source shapes")
    assert said.startswith(f"bench: --plugin {name}.py: ")
    assert reason in said
    assert os.listdir(tmp_path) == [f"{name}.py"]  # noqa: PTH208 - no cache beside it either


OTHER_VERBS = ("tune", "loaders", "loaders --verify", "list")


@pytest.mark.parametrize(
    "verb", ["run", *(pytest.param(verb, marks=pytest.mark.slow) for verb in OTHER_VERBS)]
)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("gone.py", "there is no such file"),
        ("folder/", "it is a folder"),
        ("fol-der", "it is a folder"),
        ("pipe.py", "it is not a plain file"),
        ("socket.py", "it is not a plain file"),
        ("/dev/zero", "it is not a plain file"),
        ("team.gone", "no module of that name can be imported"),
        ("not a module", "it is not a module name"),
        ("sys", "its source is not a file"),
        ("x" * 5000, "it cannot be read"),
        ("~nobody_has_this_name/x.py", "it cannot be read"),
        ("json", "it defines no entry"),
        ("''", "it is a folder"),
    ],
)
def test_what_is_no_file_and_no_module_is_refused(
    verb: str, place: str, reason: str, tmp_path: Path
) -> None:
    for folder in ("folder", "fol-der"):
        (tmp_path / folder).mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.py")
    said = refused(f"bench {verb} --plugin {place if place == repr('') else shlex.quote(place)}")
    assert reason in said
    assert not (tmp_path / "results").exists()


def test_two_plugins_with_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": net(), "b.py": net()})
    said = refused("bench list --plugin a.py --plugin b.py")
    assert said == (
        "bench: --plugin b.py: the name 'team_net' of its architecture is taken by a.py; "
        "give one of the two another name"
    )


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"slow.py": "import time\ntime.sleep(600)\n" + net()})
    monkeypatch.setattr(importing, "IMPORT_TIMEOUT_S", 0.2)
    said = refused("bench list --plugin slow.py")
    assert said == "bench: --plugin slow.py: its import did not end within 0.2 s"


def test_what_one_prints_goes_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = "import os\nprint('by python')\nos.write(1, b'by a library\\n')\n"
    write(tmp_path, {"loud.py": noise + net()})
    with used(["loud.py"]):
        print("ours")
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert "by python" in err
    assert "by a library" in err


def test_a_file_that_cannot_be_imported_leaves_no_module(tmp_path: Path) -> None:
    write(tmp_path, {"bad.py": "raise RuntimeError"})
    before = set(sys.modules)
    with pytest.raises(UsageError), used(["bad.py"]):
        pass
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("lambda config: 1 / 0", "the grid 'ours' of odd.py fails: ZeroDivisionError"),
        ("lambda config: []", "the grid 'ours' of odd.py must return cells, got none"),
        ("lambda config: ['cnn4']", "must return cells, got ['cnn4']"),
        ("lambda config: None", "fails: TypeError"),
        (
            "lambda config: [config.cell('gone', 'sgd', 'none', 'native')]",
            "unknown architecture 'gone'",
        ),
    ],
)
def test_a_grid_that_gives_no_cells_is_refused(cells: str, reason: str, tmp_path: Path) -> None:
    write(tmp_path, {"odd.py": GRID.format(name="ours", cells=cells)})
    assert reason in refused("bench run --plugin odd.py --grid ours --source shapes --dry-run")
    assert not (tmp_path / "results").exists()


def test_a_file_beside_it_is_not_imported_since_it_would_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import helper_of_a\n" + net(), "helper_of_a.py": ""})
    assert "No module named 'helper_of_a'" in refused("bench list --plugin a.py")


def test_a_second_bad_one_takes_the_first_away_again(tmp_path: Path) -> None:
    write(tmp_path, {"good.py": net(), "bad.py": "1 / 0"})
    assert "ZeroDivisionError" in refused("bench list --plugin good.py --plugin bad.py")
    assert "team_net" not in registry.CATALOGS["architectures"].entries
