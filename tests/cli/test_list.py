"""`bench list`: every entry of every kind with its reason; broken ones are in `test_one_file`."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.list import entries, render
from bench.grid.grids import GRIDS
from bench.grid.registry import CATALOGS
from bench.machine.environment import machine_names
from bench.store.store import Store
from tests import checkout
from tests.cli.conftest import Bench
from tests.made import made_record
from tests.made_plugins import net, write


def test_every_usable_entry_is_listed_with_its_reason() -> None:
    text = render(entries(None))
    for kind in (*CATALOGS, "grids"):
        assert f"{kind}\n" in text
    for catalog in CATALOGS.values():
        for name, entry in catalog.entries.items():
            assert name in text
            assert entry.why in text
    assert all(grid.why in text for grid in GRIDS.values())


def test_a_kind_is_listed_with_defaults_marked_and_lines_wrapped_at_words() -> None:
    lines = render(entries("grids")).splitlines()
    assert lines[0] == "grids"
    assert [line.split()[:2] for line in lines if " default " in line] == [["default", "*"]]
    assert not any(line.split()[1] == "*" for line in lines[1:] if "smoke" in line)
    assert "optimizers" not in entries("augmentations")
    found = entries(None)
    assert max(map(len, render(found, 80).splitlines())) <= 80
    assert render(found, 80).split() == render(found).split()


@pytest.mark.parametrize("verb", ["list", "show"])
def test_list_and_show_do_not_import_torch(tmp_path: Path, verb: str) -> None:
    Store(tmp_path / "cpu_shapes_cpu").write(made_record())
    words = ["list"] if verb == "list" else ["show", "resnet18", str(tmp_path)]
    code = f"import sys; from bench.cli.app import app; app({words}, standalone_mode=False)"
    done = checkout.python(f"{code}; sys.exit(3 * ('torch' in sys.modules))")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resnet18" in done.stdout


def test_grids_show_cells_and_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(r"smoke +5 cells  ", render(entries("grids")))
    assert "`bench run --grid smoke`" in render(entries("grids"))
    record = made_record(architecture="resnet18", epochs=3)
    record = replace(record, timings=replace(record.timings, total_s=60.0))
    cell = replace(record.cell, scale="full" if len(machine_names()) > 1 else "cpu")
    Store(tmp_path / "results" / f"{machine_names()[0]}_x").write(replace(record, cell=cell))
    by_name = {entry.name: entry for entry in entries("grids")["grids"]}
    unknown = {name for name, entry in by_name.items() if not entry.expected_s}
    assert unknown == {"decode"}, "its work depends on the images"
    assert re.search(r"default +\* +66 cells, about [\d.]+ (min|h) ", render(entries("grids")))


def test_json_has_every_entry_with_its_kind_reason_and_size(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"mine.py": net()})
    entries = json.loads(bench("list", "--format", "json", "--plugin", "mine.py").stdout)
    assert {entry["kind"] for entry in entries} == {*CATALOGS, "grids", "plugins"}
    by_name = {(entry["kind"], entry["name"]): entry for entry in entries}
    resnet = by_name["architectures", "resnet18"]
    assert resnet["why"] == CATALOGS["architectures"].entries["resnet18"].why
    assert resnet["default"] is True
    assert resnet["problem"] == ""
    assert resnet["parameters"] > 11e6
    assert by_name["architectures", "team_net"]["parameters"] == 1
    (plugin,) = (entry for entry in entries if entry["kind"] == "plugins")
    assert plugin["why"] == "architectures team_net"
    only = json.loads(bench("list", "grids", "--format", "json").stdout)
    assert {entry["kind"] for entry in only} == {"grids"}


def test_cells_of_a_plugins_grid_have_recipes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = (
        "from bench.grid.grids import Grid\n"
        "def cells(config):\n"
        "    cell = config.cell('cnn2', 'sgd', 'none', 'native')\n"
        "    return [cell] if cell.recipe.lr else []\n"
        "mine = Grid(name='mine', why='a test', cells=cells)\n"
    )
    write(tmp_path, {"mine.py": grid})
    assert re.search("mine +1 cell +a test", bench("list", "grids", "--plugin", "mine.py").stdout)
