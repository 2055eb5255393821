"""Plugins for tests: sources of small modules, and the examples of the docs."""

import re
import shutil
from pathlib import Path

from tests.checkout import ROOT

DOC = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
MINE = "docs/examples/mine.py"  # has one of each kind
INVERTING = "docs/examples/inverting.py"  # has an op


def doc_commands(word: str = "") -> list[str]:
    """The lines of the first block of commands in docs/plugins.md that has `word` in it."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)
    return next(block for block in blocks if word in block).splitlines()


def copy_examples(folder: Path) -> None:
    """Copies the examples of the docs to where the commands expect them."""
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")


def net(name: str = "team_net", **fields: object) -> str:
    """The source of a module with one architecture, which imports no torch."""
    values = {"why": "a test", "reference": "none", "parameters": 1, "version": 1} | fields
    texts = "".join(f", {key}={value!r}" for key, value in values.items())
    return (
        "from architectures import Architecture\n"
        f"net = Architecture(name={name!r}, build=lambda spec: None{texts})\n"
    )


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def distribution(folder: Path, points: dict[str, str]) -> None:
    """Writes what an installed distribution leaves: name, version and entry points."""
    lines = "".join(f"{point} = {value}\n" for point, value in points.items())
    info = "team_parts-1.2.dist-info"
    metadata = "Metadata-Version: 2.1\nName: team-parts\nVersion: 1.2\n"
    entry_points = f"[pipeline_bench]\n{lines}"
    write(folder, {f"{info}/METADATA": metadata, f"{info}/entry_points.txt": entry_points})
