"""Imports run one way between packages; quick commands import little."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import checkout
from tests.checkout import ROOT

# The packages of `bench` that each may import; "top" are the modules that lie directly in `bench/`.
TOP = {"top"}
STORE = TOP | {"store"}
READERS = STORE | {"report", "tensorboard"}
RUNS = STORE | {"machine", "optimizers", "training"}
MAY_IMPORT = {
    "top": TOP,
    "store": TOP,
    "report": STORE,
    "tensorboard": STORE,
    "optimizers": TOP,
    "machine": STORE | {"optimizers"},
    "training": STORE | {"machine", "optimizers", "tensorboard"},
    "grid": RUNS,
    "executors": READERS | RUNS | {"grid"},
    "loaders": READERS | RUNS | {"grid", "executors"},
    "check": READERS,
    "cli": READERS | RUNS | {"grid", "executors", "loaders", "check"},
}
WITHOUT_TORCH = ("report", "check", "tensorboard")


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, function-level imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def package(name: str) -> str:
    """The package of `bench` that a full name leads into."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "bench" / parts[1]).is_dir() else "top"


def imports_of(place: str) -> Iterator[tuple[Path, str]]:
    folder = ROOT / "bench"
    files = folder.glob("*.py") if place == "top" else (folder / place).rglob("*.py")
    for path in files:
        if path.name != "__main__.py":
            for name in imported(path):
                yield path.relative_to(ROOT), name


def test_every_package_has_a_rule_and_none_import_each_other() -> None:
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    assert folders | {"top"} == set(MAY_IMPORT)
    order = list(MAY_IMPORT)
    for place, allowed in MAY_IMPORT.items():
        assert all(order.index(other) <= order.index(place) for other in allowed)


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_packages_import_only_what_lies_below(place: str) -> None:
    wrong = [
        f"{path} imports {name}"
        for path, name in imports_of(place)
        if name.startswith("bench.") and package(name) not in MAY_IMPORT[place] | {place}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("place", WITHOUT_TORCH)
def test_readers_of_records_never_import_torch(place: str) -> None:
    wrong = [f"{path}: {name}" for path, name in imports_of(place) if name.split(".")[0] == "torch"]
    assert not wrong


@pytest.mark.parametrize("library", ["pipelines", "architectures"])
def test_libraries_import_nothing_of_bench(library: str) -> None:
    banned = {"bench", "architectures" if library == "pipelines" else "pipelines"} - {"pipelines"}
    for path in (ROOT / library).rglob("*.py"):
        for name in imported(path):
            assert name.split(".")[0] not in banned, f"{path.relative_to(ROOT)} imports {name}"


QUICK = (
    "bench.cli.app, bench.machine.environment, bench.loaders.measure, bench.grid.options, "
    "bench.report.loaders, bench.report.table, bench.report.compare.compare, bench.check, "
    "bench.store.store, architectures, pipelines"
)


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        (QUICK, {"torch"}),
        ("bench.cli.app", {"numpy", "pandas", "torch"}),
        ("bench.grid.plan, bench.grid.plugins", {"pandas", "scipy", "torch"}),
        ("bench.report.answers", {"pandas", "scipy", "torch"}),
        ("bench.report.figures", {"matplotlib", "torch"}),
    ],
)
def test_quick_modules_do_not_import_slow_ones(modules: str, slow: set[str]) -> None:
    """`python -X importtime` shows which one does."""
    done = checkout.python(f"import sys, {modules}; print({slow} & {{*sys.modules}})")
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_settings_of_optimizers_are_read_without_torch() -> None:
    program = "from bench.optimizers import catalog; import sys; print(len(catalog.entries))"
    done = checkout.python(f"{program}; print('torch' in sys.modules, catalog.broken)")
    count, rest = done.stdout.splitlines()
    assert int(count) >= 14, done.stderr
    assert rest == "False {}"


def test_every_module_can_be_imported() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("bench", "pipelines", "architectures")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    done = checkout.python("\n".join(f"import {name}" for name in names))
    assert done.returncode == 0, done.stderr
