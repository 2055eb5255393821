"""`bench list`: every entry of every kind with its reason, and broken ones with their problem."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.list import render_list
from bench.grid import registry
from bench.grid.grids import GRIDS
from bench.grid.registry import CATALOGS, Listing
from tests.cli.conftest import Bench
from tests.made_plugins import net, write


def test_every_usable_entry_is_listed_with_its_reason() -> None:
    text = render_list(None)
    for kind in (*CATALOGS, "grids"):
        assert f"{kind}\n" in text
    for catalog in CATALOGS.values():
        for name, entry in catalog.entries.items():
            assert name in text
            assert entry.why in text
    assert all(grid.why in text for grid in GRIDS.values())


def test_a_single_kind_is_listed_with_defaults_marked() -> None:
    lines = render_list("grids").splitlines()
    assert lines[0] == "grids"
    assert [line.split()[:2] for line in lines if " default " in line] == [["default", "*"]]
    assert not any(line.split()[1] == "*" for line in lines[1:] if "smoke" in line)
    assert "optimizers" not in render_list("augmentations")


def test_a_broken_file_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Listing(kind="optimizers", name="lion", why="", problem="ImportError: no lion")
    listing = registry.listing
    monkeypatch.setattr(registry, "listing", lambda kind: [*listing(kind), broken])
    text = render_list("optimizers")
    assert re.search(r"^  lion +not usable here: ImportError: no lion$", text, re.MULTILINE)


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


def test_an_unknown_format_is_refused(refused: Callable[..., str]) -> None:
    assert "unknown format 'jsn': did you mean json?" in refused("list", "--format", "jsn")
