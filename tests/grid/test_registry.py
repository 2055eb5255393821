"""The registry: listings, versions, and why a cell cannot run here."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.grid import registry
from pipelines import building
from pipelines.base import Library
from pipelines.catalog import Unavailable, UnknownName
from pipelines.ops import HorizontalFlip
from tests.made import made_cell


@dataclass
class Shelf:
    """A fake catalog."""

    entries: dict[str, Any]
    broken: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        if name in self.entries:
            return self.entries[name]
        if name in self.broken:
            raise Unavailable(f"pipeline {name!r} cannot be used here: {self.broken[name]}")
        raise UnknownName(f"unknown pipeline {name!r}")

    def origin(self, name: str) -> None:
        return None


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Fake pipelines: one that flips, one that compiles, one broken file."""
    usual: Any = {"why": "a test", "build": print}
    flips = Library(name="flips", ops={HorizontalFlip: "per sample"}, version=7, **usual)

    def problem(mode: str, device: str) -> str:
        return f"no compiler for {device}" if mode == "compiled" else ""

    modes = ("eager", "compiled")
    compiles = Library(name="compiles", ops={}, modes=modes, problem=problem, **usual)
    made = Shelf({"flips": flips, "compiles": compiles}, {"gone": "ImportError: no such library"})
    monkeypatch.setattr(building, "catalog", made)
    monkeypatch.setattr(registry, "CATALOGS", {**registry.CATALOGS, "pipelines": made})
    return made


def test_listings_and_versions_know_broken_entries(shelf: Shelf) -> None:
    found = registry.listing("pipelines")
    assert [(entry.name, entry.problem) for entry in found] == [
        ("flips", ""),
        ("compiles", ""),
        ("gone", "ImportError: no such library"),
    ]
    assert found[0].why == "a test"
    assert registry.defaults("pipelines") == []
    found = registry.versions(made_cell(pipeline="flips"))
    assert found == {"architecture": 1, "optimizer": 1, "augmentation": 1, "pipeline": 7}
    assert registry.versions(made_cell(pipeline="gone"))["pipeline"] == 0
    assert registry.versions(made_cell(pipeline="compiles[compiled]"))["pipeline"] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pipeline": "flips", "augmentation": "none"}, None),
        ({"pipeline": "compiles", "augmentation": "none"}, None),
        ({"pipeline": "flips", "augmentation": "flip_crop"}, "flips has no Crop"),
        (
            {"pipeline": "gone", "augmentation": "none"},
            "pipeline 'gone' cannot be used here: ImportError: no such library",
        ),
        (
            {"pipeline": "compiles[compiled]", "augmentation": "none", "device": "cuda"},
            "no compiler for cuda",
        ),
    ],
)
def test_a_cell_that_cannot_run_here_has_a_reason(
    shelf: Shelf, changes: dict[str, str], reason: str | None
) -> None:
    assert registry.problem(made_cell(**changes)) == reason


@pytest.mark.parametrize("axis", ["architecture", "optimizer", "augmentation", "pipeline"])
def test_an_unknown_name_is_an_error_and_not_skipped(shelf: Shelf, axis: str) -> None:
    cell = made_cell(**{"pipeline": "flips", "augmentation": "none", axis: "nowhere"})
    with pytest.raises(UnknownName, match="nowhere"):
        registry.problem(cell)
    with pytest.raises(UnknownName, match="nowhere"):
        registry.versions(cell)
