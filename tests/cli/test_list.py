"""`bench list`: every entry of every kind with its reason; what is broken says why."""

import re

import pytest

from bench.cli.list import render_list
from bench.errors import UsageError
from bench.grid import registry
from bench.grid.grids import GRIDS
from bench.grid.registry import CATALOGS, Listing


def test_every_usable_entry_stands_there_with_its_reason() -> None:
    text = render_list(None)
    for kind in (*CATALOGS, "grids"):
        assert f"{kind}\n" in text
    for catalog in CATALOGS.values():
        for name, entry in catalog.entries.items():
            assert name in text
            assert entry.why in text
    assert all(grid.why in text for grid in GRIDS.values())


def test_one_kind_is_shown_alone_and_defaults_are_marked() -> None:
    lines = render_list("grids").splitlines()
    assert lines[0] == "grids"
    assert [line.split()[:2] for line in lines if " default " in line] == [["default", "*"]]
    assert not any(line.split()[1] == "*" for line in lines[1:] if "smoke" in line)
    assert "optimizers" not in render_list("augmentations")


def test_a_broken_file_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Listing(kind="optimizers", name="lion", why="", problem="ImportError: no lion")
    monkeypatch.setattr("bench.cli.list.listing", lambda kind: [*registry.listing(kind), broken])
    text = render_list("optimizers")
    assert re.search(r"^  lion +not usable here: ImportError: no lion$", text, re.MULTILINE)


def test_an_unknown_kind_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown kind of entry 'optimiser': did you mean optim"):
        render_list("optimiser")
