"""Catalogs: entries are found by looking, a broken file hides nothing, typos are told."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import importing
from pipelines.catalog import Catalog, Unavailable, UnknownName, unknown_name


@dataclass(frozen=True, kw_only=True)
class Fruit:
    name: str
    why: str = "a test"


PREAMBLE = "from tests.pipelines.test_catalog import Fruit\n"


def made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, files: dict[str, str]
) -> Catalog[Fruit]:
    """A catalog over a package of its own with these files."""
    (folder / package).mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / package / f"{name}.py").write_text(PREAMBLE + text)
    monkeypatch.syspath_prepend(folder)
    return Catalog(package=package, entry_type=Fruit, noun="fruit")


def test_every_entry_of_every_file_is_found_in_the_order_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "stone": "a = Fruit(name='plum')\nb = Fruit(name='cherry')",
        "core": "FRUIT = Fruit(name='pear')\nalias = FRUIT",
        "nothing": "number = 3",
    }
    catalog = made(tmp_path, monkeypatch, "fruits_found", files)
    assert list(catalog.entries) == ["pear", "plum", "cherry"]
    assert catalog.broken == {}
    assert catalog.get("cherry") is catalog.entries["cherry"]


def test_a_broken_file_stays_listed_with_its_reason_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "lacking": "import a_library_that_nobody_has",
        "raising": "1 / 0",
        "typo": "def (",
        "pear": "pear = Fruit(name='pear')",
    }
    catalog = made(tmp_path, monkeypatch, "fruits_broken", files)
    assert list(catalog.entries) == ["pear"]
    assert catalog.broken["lacking"] == (
        "ModuleNotFoundError: No module named 'a_library_that_nobody_has'"
    )
    assert catalog.broken["raising"] == "ZeroDivisionError: division by zero"
    assert catalog.broken["typo"].startswith("SyntaxError")
    with pytest.raises(
        Unavailable, match=r"fruit 'lacking' cannot be used here: .*a_library_that_nobody_has"
    ):
        catalog.get("lacking")


def test_a_name_that_two_files_give_is_told_and_the_first_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"one": "x = Fruit(name='fig')", "two": "x = Fruit(name='fig')"}
    catalog = made(tmp_path, monkeypatch, "fruits_twice", files)
    assert list(catalog.entries) == ["fig"]
    assert catalog.broken == {
        "two": "the name 'fig' is taken by the file one.py; give one of the two another name"
    }
    assert catalog.get("fig") is catalog.entries["fig"]


def test_a_name_that_two_files_give_belongs_to_the_file_that_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"all": "x = Fruit(name='fig')\ny = Fruit(name='date')", "fig": "x = Fruit(name='fig')"}
    catalog = made(tmp_path, monkeypatch, "fruits_at_home", files)
    direct = catalog.get("fig")
    assert catalog.entries["fig"] is direct
    assert set(catalog.entries) == {"fig", "date"}
    assert list(catalog.broken) == ["all"]
    assert "fig.py" in catalog.broken["all"]


ENTRIES_THAT_CANNOT_BE = {
    "a number for a name": ("Fruit(name=3)", "has the name 3"),
    "a name with blanks": ("Fruit(name='a fig')", "has the name 'a fig'"),
    "a name that leads elsewhere": ("Fruit(name='../fig')", "has the name '../fig'"),
    "no reason": ("Fruit(name='fig', why=None)", "the `why` of fig is no sentence"),
    "an end": ("import sys; sys.exit('enough')", "SystemExit: enough"),
    "an outcome": ("import pytest; pytest.skip('no', allow_module_level=True)", "Skipped: no"),
    "no text": ("\x00", "SyntaxError|source code"),
}


@pytest.mark.parametrize("case", ENTRIES_THAT_CANNOT_BE)
def test_a_file_that_gives_no_entry_or_ends_the_program_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    text, reason = ENTRIES_THAT_CANNOT_BE[case]
    files = {"broken": f"x = {text}" if text.startswith("Fruit") else text,
             "pear": "pear = Fruit(name='pear')"}  # fmt: skip
    package = f"fruits_{list(ENTRIES_THAT_CANNOT_BE).index(case)}"
    catalog = made(tmp_path, monkeypatch, package, files)
    assert list(catalog.entries) == ["pear"]
    assert re.search(reason, catalog.broken["broken"]), catalog.broken
    with pytest.raises(Unavailable, match="fruit 'broken' cannot be used here"):
        catalog.get("broken")


def test_an_import_that_never_ends_is_given_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "IMPORT_TIMEOUT_S", 0.3)
    endless = "while True:\n    try:\n        pass\n    except Exception:\n        pass"
    files = {"endless": endless, "pear": "pear = Fruit(name='pear')"}
    catalog = made(tmp_path, monkeypatch, "fruits_endless", files)
    assert list(catalog.entries) == ["pear"]
    assert catalog.broken["endless"] == "its import did not end within 0.3 s"
    with pytest.raises(Unavailable, match="did not end"):
        catalog.get("endless")
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_ctrl_c_during_an_import_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = made(tmp_path, monkeypatch, "fruits_stopped", {"a": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        catalog.get("a")


def test_an_entry_imported_from_another_file_is_no_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "base": "x = Fruit(name='fig')",
        "uses": "from fruits_imported.base import x\ny = Fruit(name='date')",
    }
    catalog = made(tmp_path, monkeypatch, "fruits_imported", files)
    assert set(catalog.entries) == {"fig", "date"}
    assert catalog.broken == {}


def test_a_file_named_like_its_entry_spares_the_imports_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "imported"
    files = {
        "fig": "x = Fruit(name='fig')",
        "slow": f"import pathlib; pathlib.Path({str(trap)!r}).touch()",
    }
    catalog = made(tmp_path, monkeypatch, "fruits_lazy", files)
    assert catalog.get("fig").name == "fig"
    assert not trap.exists()


def test_an_unknown_name_gets_the_nearest_ones_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a": "x = Fruit(name='cherry')", "b": "x = Fruit(name='pear')"}
    catalog = made(tmp_path, monkeypatch, "fruits_unknown", files)
    with pytest.raises(UnknownName) as caught:
        catalog.get("chery")
    assert str(caught.value) == (
        "unknown fruit 'chery': did you mean cherry? known are cherry, pear"
    )
    assert unknown_name("fruit", "xyz", ["pear"]) == "unknown fruit 'xyz': known are pear"


@pytest.mark.parametrize("name", ["", ".", "a.b", "../a", "räksmörgås", "a b"])
def test_any_text_is_just_an_unknown_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    catalog = made(tmp_path, monkeypatch, "fruits_odd", {"a": "x = Fruit(name='pear')"})
    with pytest.raises(UnknownName, match="known are pear"):
        catalog.get(name)
