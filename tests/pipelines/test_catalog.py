"""Catalogs: every file's entries are listed, a broken file hides nothing, typos get a hint."""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import importing
from pipelines.catalog import Catalog, Unavailable, UnknownName


@dataclass(frozen=True, kw_only=True)
class Fruit:
    name: str
    why: str = "a test"


PREAMBLE = "from tests.pipelines.test_catalog import Fruit\n"
PEAR = {"pear": "pear = Fruit(name='pear')"}
Make = Callable[[dict[str, str]], Catalog[Fruit]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Make:
    """Makes a catalog over a package of its own with these files."""
    package = re.sub(r"\W", "_", request.node.name)

    def make(files: dict[str, str]) -> Catalog[Fruit]:
        (tmp_path / package).mkdir()
        for name, text in {"__init__": "", **files}.items():
            (tmp_path / package / f"{name}.py").write_text(PREAMBLE + text)
        monkeypatch.syspath_prepend(tmp_path)
        return Catalog(package=package, entry_type=Fruit, noun="fruit")

    return make


def test_every_entry_of_every_file_is_listed_in_the_order_of_the_files(make: Make) -> None:
    catalog = make({
        "stone": "a = Fruit(name='plum')\nb = Fruit(name='cherry')",
        "core": "FRUIT = Fruit(name='pear')\nalias = FRUIT",
        "nothing": "number = 3",
    })  # fmt: skip
    assert list(catalog.entries) == ["pear", "plum", "cherry"]
    assert catalog.broken == {}
    assert catalog.get("cherry") is catalog.entries["cherry"]


def test_a_name_that_two_files_give_belongs_to_the_first_and_is_reported(make: Make) -> None:
    catalog = make({"one": "x = Fruit(name='fig')", "two": "x = Fruit(name='fig')"})
    assert list(catalog.entries) == ["fig"]
    assert list(catalog.broken) == ["two"]
    assert "the name 'fig' is taken by the file one.py" in catalog.broken["two"]
    assert catalog.get("fig") is catalog.entries["fig"]


def test_a_name_that_two_files_give_belongs_to_the_file_of_that_name(make: Make) -> None:
    both = "x = Fruit(name='fig')\ny = Fruit(name='date')"
    catalog = make({"all": both, "fig": "x = Fruit(name='fig')"})
    direct = catalog.get("fig")
    assert catalog.entries["fig"] is direct
    assert set(catalog.entries) == {"fig", "date"}
    assert list(catalog.broken) == ["all"]
    assert "fig.py" in catalog.broken["all"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nobody_has_this", "ModuleNotFoundError: No module named 'nobody_has_this'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError"),
        ("\x00", "SyntaxError|source code"),
        ("x = Fruit(name=3)", "has the name 3"),
        ("x = Fruit(name='a fig')", "has the name 'a fig'"),
        ("x = Fruit(name='../fig')", "has the name '../fig'"),
        ("x = Fruit(name='fig', why=None)", "the `why` of fig is no sentence"),
        ("import sys; sys.exit('enough')", "SystemExit: enough"),
        ("import pytest; pytest.skip('no', allow_module_level=True)", "Skipped: no"),
    ],
)
def test_a_broken_file_is_listed_with_its_reason(make: Make, text: str, reason: str) -> None:
    catalog = make({"broken": text, **PEAR})
    assert list(catalog.entries) == ["pear"]
    assert re.search(reason, catalog.broken["broken"]), catalog.broken
    with pytest.raises(Unavailable, match=f"fruit 'broken' cannot be used here: .*({reason})"):
        catalog.get("broken")


def test_an_import_that_never_ends_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "IMPORT_TIMEOUT_S", 0.3)
    endless = "while True:\n    try:\n        pass\n    except Exception:\n        pass"
    catalog = make({"endless": endless, **PEAR})
    assert list(catalog.entries) == ["pear"]
    assert catalog.broken["endless"] == "its import did not finish within 0.3 s"
    with pytest.raises(Unavailable, match="did not finish"):
        catalog.get("endless")
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_ctrl_c_during_an_import_is_no_fault_of_the_file(make: Make) -> None:
    with pytest.raises(KeyboardInterrupt):
        make({"a": "raise KeyboardInterrupt"}).get("a")


def test_an_entry_imported_from_another_file_is_no_second_one(make: Make) -> None:
    uses = "from .base import x\ny = Fruit(name='date')"
    catalog = make({"base": "x = Fruit(name='fig')", "uses": uses})
    assert set(catalog.entries) == {"fig", "date"}
    assert catalog.broken == {}


def test_a_file_named_like_its_entry_is_imported_alone(make: Make, tmp_path: Path) -> None:
    trap = tmp_path / "imported"
    slow = f"import pathlib; pathlib.Path({str(trap)!r}).touch()"
    catalog = make({"fig": "x = Fruit(name='fig')", "slow": slow})
    assert catalog.get("fig").name == "fig"
    assert not trap.exists()


@pytest.mark.parametrize("name", ["chery", "", ".", "a.b", "../a", "räksmörgås", "a b"])
def test_an_unknown_name_gets_the_nearest_ones_and_all(make: Make, name: str) -> None:
    catalog = make({"a": "x = Fruit(name='cherry')", **PEAR})
    near = "did you mean cherry? " if name == "chery" else ""
    message = f"unknown fruit {name!r}: {near}known are cherry, pear"
    with pytest.raises(UnknownName, match=f"^{re.escape(message)}$"):
        catalog.get(name)
