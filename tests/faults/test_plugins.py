"""Plugins that cannot be used: one sentence, exit code 2, nothing is written."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.grid import grids, registry
from bench.grid.plugins import used
from tests.cli.conftest import Bench
from tests.made_plugins import net, write

GRID = (
    "from bench.grid.grids import Grid\ngrid = Grid(name={name!r}, why='a test', cells={cells})\n"
)
LIBRARY = (
    "from pipelines.base import Library\n"
    "library = Library(name={name!r}, why='a test', build=print, ops={{}})\n"
)
BROKEN = {
    "raises": ("raise RuntimeError('in\\ntwo lines')", "RuntimeError: in two lines"),
    "exits": ("import sys; sys.exit(0)", "it ends the program when it is imported"),
    "syntax": ("def (", "SyntaxError"),
    "latin": ("name = '\udce9'\n", "SyntaxError"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "beside": ("import beside_it", "No module named 'beside_it'"),
    "nothing": ("answer = 42\n", "it defines no entry: entries are objects of Architecture"),
    "wanting": ("from architectures import Architecture\nArchitecture(name='x')", "TypeError"),
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
def _no_entry_stays(machine: None) -> Iterator[None]:
    known = set(registry.CATALOGS["architectures"].entries)
    yield
    assert set(registry.CATALOGS["architectures"].entries) == known
    assert not grids.PLUGIN_GRIDS


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plugins_are_refused(refused: Callable[..., str], name: str, tmp_path: Path) -> None:
    text, reason = BROKEN[name]
    write(tmp_path, {"beside_it.py": ""})
    (tmp_path / f"{name}.py").write_text(text, errors="surrogateescape")
    line = refused("run", "--plugin", f"{name}.py", "--grid", "smoke", "--source", "shapes")
    assert line.startswith(f"bench: --plugin {name}.py: ")
    assert reason in line
    assert set(os.listdir(tmp_path)) == {"beside_it.py", f"{name}.py"}  # noqa: PTH208 - no cache


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
        ("", "it is a folder"),
    ],
)
def test_a_plugin_that_is_neither_file_nor_module_is_refused(
    refused: Callable[..., str], place: str, reason: str, tmp_path: Path
) -> None:
    for folder in ("folder", "fol-der"):
        (tmp_path / folder).mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.py")
    assert reason in refused("run", "--plugin", place)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("verb", ["tune", "loaders", "loaders --verify", "list"])
def test_every_verb_refuses_an_unusable_plugin(refused: Callable[..., str], verb: str) -> None:
    assert "there is no such file" in refused(*verb.split(), "--plugin", "gone.py")


def test_two_plugins_with_one_name_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    write(tmp_path, {"a.py": net(), "b.py": net(), "bad.py": "1 / 0"})
    line = refused("list", "--plugin", "a.py", "--plugin", "b.py")
    assert "--plugin b.py: the name 'team_net' of its architecture is taken by a.py; give" in line
    assert "ZeroDivisionError" in refused("list", "--plugin", "a.py", "--plugin", "bad.py")


def test_a_plugin_prints_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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
def test_a_grid_needs_real_cells(bench: Bench, cells: str, reason: str, tmp_path: Path) -> None:
    write(tmp_path, {"odd.py": GRID.format(name="ours", cells=cells)})
    done = bench("run", "--plugin", "odd.py", "--grid", "ours", "--source", "shapes", "--dry-run")
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not (tmp_path / "results").exists()
