"""Imports run one way, and the quick commands stay quick because they import little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module may import those of its own package and those below it in this list, never those above.
MAY_NOT_IMPORT = {
    "pipelines": ["bench", "architectures"],
    "architectures": ["bench"],
    "bench/report": ["bench.run", "bench.worker", "bench.cli", "bench.executors", "torch"],
    "bench/store.py": ["bench.run", "bench.worker", "bench.cli", "bench.executors", "torch"],
    "bench/console.py": ["bench.run", "bench.worker", "bench.cli", "bench.executors", "torch"],
    "bench/record.py": ["bench.store", "bench.run", "torch"],
    "bench/loop.py": ["bench.run", "bench.worker", "bench.store"],
    "bench/run.py": ["bench.worker", "bench.executors", "bench.cli", "bench.plan"],
    "bench/worker.py": ["bench.executors", "bench.cli", "bench.plan", "bench.execute"],
    "bench/loader_worker.py": ["bench.executors", "bench.cli", "bench.loaders"],
    "bench/loader_plan.py": ["bench.executors", "bench.cli", "bench.loaders", "torch"],
    "bench/loaders.py": ["bench.cli", "bench.loader_worker", "bench.execute", "torch"],
    "bench/executors": ["bench.cli", "bench.plan", "bench.execute", "bench.run", "torch"],
    "bench/optimizers": ["bench.run", "bench.loop", "bench.cell"],
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("place", MAY_NOT_IMPORT)
def test_imports_run_one_way(place: str) -> None:
    target = ROOT / place
    files = sorted(target.rglob("*.py")) if target.is_dir() else [target]
    assert files
    for path in files:
        for name in imported(path):
            for banned in MAY_NOT_IMPORT[place]:
                wrong = name == banned or name.startswith(f"{banned}.")
                assert not wrong, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    "module",
    [
        "bench.cli",
        "bench.environment",
        "bench.loaders",
        "bench.options",
        "bench.report.loaders_plot",
        "bench.report.table",
        "bench.store",
        "architectures",
        "pipelines",
    ],
)
def test_quick_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_module_can_be_imported() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("bench", "pipelines", "architectures")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    code = "\n".join(f"import {name}" for name in names)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_files_stay_small() -> None:
    for package in ("bench", "pipelines", "architectures"):
        for path in (ROOT / package).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 330, f"{path.relative_to(ROOT)} has {lines} lines"
