"""Processes that run the code of this checkout, or of a copy of its packages with added files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
Done = subprocess.CompletedProcess[str]


def make(folder: Path, files: Mapping[str, str]) -> Path:
    """Copies the packages into `folder` and adds `files` (path to text)."""
    for package in ("bench", "pipelines", "architectures"):
        shutil.copytree(ROOT / package, folder / package)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def command(checkout: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of `bench` with the copy's packages."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "COLUMNS": "200"}
    return [sys.executable, "-m", "bench", *arguments], environment


def bench(checkout: Path, *arguments: str, stdout: int = subprocess.PIPE) -> Done:
    line, environment = command(checkout, *arguments)
    return subprocess.run(
        line, cwd=checkout, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True,
        check=False, timeout=300,
    )  # fmt: skip


def program(path: Path, script: str) -> Path:
    """Writes an executable shell script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def python(
    code: str, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Done:
    """Runs code in a new Python process."""
    line = [sys.executable, "-c", code, *arguments]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, check=False)
