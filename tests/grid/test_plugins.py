"""Plugins: their entries in the catalogs, and run ids that depend on their source."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import architectures
from bench.cell import Run
from bench.cli import app
from bench.grid import grids, registry
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.grid.plugins import origin_of, registered, used
from bench.machine.environment import Probe
from bench.store.store import Store
from pipelines import augmentations, building
from pipelines.augmentations import Augmentation
from pipelines.base import Unsupported
from pipelines.catalog import Unavailable
from pipelines.verification.made_images import numbered, pixels
from tests.made import made_cell
from tests.made_device import device_is
from tests.made_plugins import (
    INVERTING,
    MINE,
    ROOT,
    copy_examples,
    distribution,
    doc_commands,
    net,
    write,
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A new folder, a fixed probe of the machine, and no modules left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    device_is(monkeypatch, Probe(cuda_problem="none"))
    before = set(sys.modules)
    yield
    assert not grids.PLUGIN_GRIDS
    assert not any(vars(catalog).get("_external") for catalog in registry.CATALOGS.values())
    for name in set(sys.modules) - before:
        if name.startswith(("team", "mine", "inverting")):
            del sys.modules[name]


def bench(line: str) -> Result:
    return CliRunner().invoke(app.app, shlex.split(line)[1:])


def run_of(architecture: str) -> Run:
    cell = made_cell(architecture=architecture)
    return Run(cell=cell, seed=0, versions=registry.versions(cell), fingerprint="f00d")


@pytest.mark.slow
def test_the_example_of_the_docs_works_as_described(tmp_path: Path) -> None:
    copy_examples(tmp_path)
    listed, ran, dry, table, verified = map(bench, doc_commands())

    assert (listed.exit_code, ran.exit_code, dry.exit_code) == (0, 0, 0), ran.output
    for name in ("one_layer", "adagrad", "mirrored", "mirrors", "mine"):
        assert f"\n  {name} " in listed.output
    assert str(origin_of(MINE)) in listed.output

    (folder,) = (tmp_path / "results").iterdir()
    records = {record.cell.name: record for record in Store(folder).records()}
    ours = records["one_layer/adagrad/mirrored/mirrors"]
    theirs = records["one_layer/sgd/mirrored/native"]
    assert {record.status for record in records.values()} == {"ok"}
    version = f"1 of {origin_of(MINE)}"
    assert set(ours.versions.values()) == {version}
    assert theirs.versions == {
        "architecture": version, "augmentation": version, "optimizer": 1, "pipeline": 1
    }  # fmt: skip
    assert ours.augmentation_draws == {"HorizontalFlip": "per sample"}

    with used([MINE]):
        built = architectures.build("one_layer")
        stated = architectures.get("one_layer").parameters
    assert sum(parameter.numel() for parameter in built.parameters()) == stated

    assert "one_layer/adamw/flip_crop/kornia" in dry.output
    assert table.exit_code == 0
    assert "mirrors" in table.output
    assert verified.exit_code == 0
    assert "2 ok" in verified.output  # without an op, and with the one that it has


@pytest.mark.parametrize(
    "pipeline", ["native[eager]", "torchvision", "torchvision_batch", "kornia"]
)
def test_each_library_carries_out_the_op_of_the_docs(tmp_path: Path, pipeline: str) -> None:
    copy_examples(tmp_path)
    images = numbered(64)
    with used([INVERTING]):
        flip, invert = augmentations.catalog.get("inverting").ops
        always = Augmentation(ops=[replace(flip, p=1.0), replace(invert, p=1.0)])
        with building.build(pipeline, images, always, batch_size=64) as built:
            x_BCHW, _ = next(iter(built.epoch(0)))
            order = built.permutation(0)[0]
            draws = built.semantics.draws["Invert"]
        with pytest.raises(Unsupported, match="dali has no Invert"):
            building.parse("dali").library.semantics(always)
    assert np.abs(pixels(x_BCHW) - (255 - images.images[order].numpy())).max() < 0.01
    assert draws == ("per batch" if pipeline == "torchvision_batch" else "per sample")


@pytest.mark.slow
def test_the_op_of_the_docs_trains(tmp_path: Path) -> None:
    copy_examples(tmp_path)
    (line,) = doc_commands(INVERTING)
    ran = bench(line)
    assert ran.exit_code == 0, ran.output
    (folder,) = (tmp_path / "results").iterdir()
    records = Store(folder).records()
    assert {record.status for record in records if "dali" not in record.cell.pipeline} == {"ok"}
    for record in records:
        assert record.versions["augmentation"] == f"1 of {origin_of(INVERTING)}"


def test_a_changed_plugin_changes_its_own_runs_ids_but_a_moved_one_not(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": net(), "moved/mine.py": net(), "changed/mine.py": net() + "#"})
    ids = []
    for place in ("mine.py", "moved/mine.py", "changed/mine.py"):
        with used([place]):
            ids.append(run_of("team_net").id)
    assert ids[0] == ids[1] != ids[2]
    write(tmp_path, {"mine.py": net()})
    before = run_of("cnn4")
    with used(["mine.py"]):
        beside = run_of("cnn4")
        assert beside.worker_key != run_of("team_net").worker_key
    assert (beside.id, beside.plugins) == (before.id, ())


def test_the_digest_of_a_package_covers_all_its_sources(tmp_path: Path) -> None:
    nets = "from team_a.parts import NAME\n" + net().replace("'team_net'", "NAME")
    files = {"__init__.py": "", "nets.py": nets, "parts.py": "NAME = 'team_net'\n", "a.txt": ""}
    write(tmp_path, {f"team_a/{name}": text for name, text in files.items()})
    first = origin_of("team_a.nets")
    assert "team_a" not in sys.modules  # nothing was run to tell
    with used(["team_a.nets"]) as plugins:
        assert run_of("team_net").plugins == (str(first),)
    assert plugins.loaded[0].names == {"architectures": ["team_net"]}
    write(tmp_path, {"team_a/a.txt": "to do", "team_a/__pycache__/x.cpython-311.pyc": "x"})
    assert origin_of("team_a.nets") == first
    write(tmp_path, {"team_a/parts.py": "NAME = 'team_net' \n"})
    assert origin_of("team_a.nets").digest != first.digest


def test_a_plugin_is_loaded_once_without_the_entries_that_it_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "team_b.py": net("team_b_net"),
            "mine.py": "from architectures.resnet import *\nfrom architectures import resnet\n"
            "resnet18 = next(v for v in vars(resnet).values() if getattr(v, 'name', '') == "
            "'resnet18')\nfrom team_b import net as theirs\nfrom bench.grid.grids import GRIDS\n"
            "smoke = GRIDS['smoke']\nother = {'name': 'no_entry'}\n" + net(),
        },
    )
    with used(["team_b", "mine.py"]) as plugins:
        assert [plugin.names for plugin in plugins.loaded] == [
            {"architectures": ["team_b_net"]},
            {"architectures": ["team_net"]},
        ]
    write(tmp_path, {"mine.py": net()})
    with used(["mine.py", str(tmp_path / "mine.py")]) as plugins:
        assert len(plugins.loaded) == 1


def test_default_entries_of_plugins_are_in_the_default_grid(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": net(default=True)})
    with used(["mine.py"]):
        assert "team_net" in registry.defaults("architectures")
        options = RunOptions(plugins=["mine.py"], select="team_net", device="cpu")
        cells = planning.choose_cells(options, planning.choose_config(options, Probe(), "cpu"))
    assert {cell.architecture for cell in cells} == {"team_net"}
    assert "team_net" not in registry.defaults("architectures")


def test_installed_plugins_load_without_a_flag_and_broken_ones_are_reported(tmp_path: Path) -> None:
    files = {"team_c.py": net(), "team_d.py": "import no_library", "team_e.py": net("resnet18")}
    write(tmp_path, files)
    points = {"nets": "team_c", "lost": "team_d", "taken": "team_e", "part": "team_c:net"}
    distribution(tmp_path, points | {"gone": "team_gone"})
    listed = bench("bench list")
    assert listed.exit_code == 0
    assert "\n  team_net " in listed.output
    kept, section = listed.output.split("\nplugins\n")
    assert "\n  cnn4 " in kept
    listed_as = dict(line.strip().split(": ", 1) for line in section.splitlines())
    assert listed_as[str(origin_of("team_c"))] == "architectures team_net"
    reasons = {name: why for name, why in listed_as.items() if "team-parts 1.2" in name}
    assert {name.split()[0] for name in reasons} == {"lost", "taken", "part", "gone"}
    assert "No module named 'no_library'" in reasons["lost of team-parts 1.2"]
    assert "is taken by architectures/resnet.py" in reasons["taken of team-parts 1.2"]
    assert "no module of that name" in reasons["gone of team-parts 1.2"]
    assert "team_c:net is not a module" in reasons["part of team-parts 1.2"]
    with used([]) as plugins:
        assert len(plugins.notices()) == 4


def test_a_worker_refuses_a_changed_plugin(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": net()})
    origin = origin_of("mine.py")
    places = {str(origin): origin.place}
    with registered(places):
        assert str(origin) in str(registry.versions(made_cell(architecture="team_net")))
    write(tmp_path, {"mine.py": net() + "\n"})
    with (
        pytest.raises(Unavailable, match=r"mine\.py cannot be used: it was changed"),
        registered(places),
    ):
        pass
    (tmp_path / "mine.py").unlink()
    with pytest.raises(Unavailable, match="there is no such file"), registered(places):
        pass


def test_tables_and_help_import_no_plugin(tmp_path: Path) -> None:
    write(tmp_path, {"team_g.py": "from pathlib import Path\nPath('imported').touch()\n" + net()})
    distribution(tmp_path, {"nets": "team_g"})
    shutil.copytree(ROOT / "results" / "reference", tmp_path / "results" / "reference")
    for line in ("bench --help", "bench run --help", "bench table results"):
        assert bench(line).exit_code == 0
    assert not (tmp_path / "imported").exists()
    assert bench("bench list grids").exit_code == 0
    assert (tmp_path / "imported").exists()


@pytest.mark.slow
def test_loaders_records_name_the_plugin(tmp_path: Path) -> None:
    copy_examples(tmp_path)
    done = bench(
        f"bench loaders --plugin {MINE} --pipeline mirrors --augmentation mirrored "
        "--source shapes --batch-size 64 --repeats 1 --seconds 0.01 --format json"
    )
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "results").glob("*/loaders.json")
    found = json.loads(path.read_text())
    assert found["plugins"] == [str(origin_of(MINE))]
    assert [row["status"] for row in found["rows"]] == ["ok"]
