"""The wheel holds the three packages and the command, and nothing else."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from bench import __version__
from tests.checkout import ROOT

PACKAGES = ("bench", "pipelines", "architectures")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that nothing is left in the checkout, and without the network."""
    copy = tmp_path_factory.mktemp("copy")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    (copy / "results" / "reference").mkdir(parents=True)
    (copy / "results" / "reference" / "matrix.md").write_text("a table")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (copy / "out").glob("*.whl")
    return zipfile.ZipFile(path)


def test_it_holds_exactly_the_files_of_the_three_packages(wheel: zipfile.ZipFile) -> None:
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == wanted


def test_it_has_the_command_and_the_name_of_the_distribution(wheel: zipfile.ZipFile) -> None:
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert folder == f"pipeline_bench-{__version__}.dist-info"
    assert "bench = bench.cli.app:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    top = wheel.read(f"{folder}/top_level.txt").decode().split()
    assert sorted(top) == sorted(PACKAGES)


def test_the_dependency_on_dali_is_not_the_placeholder_and_only_where_it_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    (line,) = [line for line in [*project["dependencies"], *extras] if "dali" in line]
    assert re.split(r"[^\w.-]", line)[0] == "nvidia-dali-cuda130"
    assert "sys_platform == 'linux'" in line
    assert "platform_machine == 'x86_64'" in line
