"""Grids: their cells, without repeats, and the order of their runs."""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from bench.cell import AXES, Cell
from bench.grid import registry
from bench.grid.grids import BUDGETS, GRIDS, GridConfig, cells_of, runs_of
from bench.listing import stated_entries
from pipelines import augmentations, building, libraries
from pipelines.building import canonical_name
from pipelines.catalog import Unavailable
from tests.made import made_cell

CPU = GridConfig(base=replace(BUDGETS["cpu"], source="shapes"))
GPU = GridConfig(base=replace(BUDGETS["full"], precision="bf16", compile=True))


def axes(cell: Cell) -> tuple[str, str, str, str]:
    return cell.architecture, cell.optimizer, cell.augmentation, cell.pipeline


def required_pipelines() -> list[str]:
    return [name for name, entry in building.catalog.entries.items() if not entry.install]


@pytest.mark.parametrize("config", [CPU, GPU], ids=["cpu", "gpu"])
def test_the_default_grid_is_all_defaults_through_kornia_and_a_slice_over_pipelines(
    config: GridConfig,
) -> None:
    kinds = ("architectures", "optimizers", "augmentations")
    architectures, optimizers, augmentations = map(registry.defaults, kinds)
    assert len(architectures) >= 6
    assert len(optimizers) >= 3
    assert len(augmentations) >= 3
    kornia = canonical_name("kornia")
    through_kornia = set(product(architectures, optimizers, augmentations, [kornia]))
    pipelines = [canonical_name(name) for name in required_pipelines()]
    assert len(set(pipelines)) >= 3
    across = set(product(["cnn4"], ["sgd"], augmentations, pipelines))
    cells = cells_of("default", config)
    assert {axes(cell) for cell in cells} == through_kornia | across
    assert len(set(cells)) == len(cells)


def test_all_cells_of_a_grid_share_settings_and_budget() -> None:
    for cell in cells_of("default", GPU):
        assert (cell.source, cell.scale, cell.device) == ("cifar10", "full", "cuda")
        assert (cell.precision, cell.compile, cell.protocol) == ("bf16", True, "validation")
        assert cell.without("recipe", *AXES) == GPU.base


def test_smoke_has_a_tiny_cell_for_each_pipeline() -> None:
    smoke, default = cells_of("smoke", CPU), cells_of("default", CPU)
    names = [cell.pipeline.partition("[")[0] for cell in smoke]
    assert sorted(names) == sorted(required_pipelines())
    assert {cell.optimizer for cell in smoke} == {cell.optimizer for cell in default}
    steps = sum(cell.epochs * (cell.train_images or 0) // cell.batch_size for cell in smoke)
    assert 0 < steps < 100
    assert all(registry.versions(cell) for cell in smoke)


def test_the_pipelines_grid_has_two_nets_under_every_policy_and_every_mode() -> None:
    cells = cells_of("pipelines", CPU)
    assert len(set(cells)) == len(cells)
    assert {cell.architecture for cell in cells} == {"cnn4", "resnet18"}
    assert {cell.augmentation for cell in cells} == set(augmentations.catalog.entries)
    named = {cell.pipeline for cell in cells}
    assert {"native", "native[eager]", "kornia", "kornia[compiled]", "dali"} <= named
    assert any(name.startswith("torchvision[workers=") for name in named)
    assert len(cells) == 2 * len(augmentations.catalog.entries) * len(named)


def test_optional_pipelines_are_in_their_grid_where_they_are_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    optional = set(building.catalog.entries) - set(required_pipelines())
    assert "albumentations" in optional
    for installed in (object(), None):
        monkeypatch.setattr(libraries, "find_spec", lambda name, found=installed: found)
        monkeypatch.setattr(registry, "stated_entries", cache(stated_entries.__wrapped__))
        named = {cell.pipeline.partition("[")[0] for cell in cells_of("pipelines", CPU)}
        assert named & optional == (optional if installed else set())
        known = {entry.name: entry.problem for entry in registry.listing("pipelines")}
        reason = "albumentations is not installed: pip install albumentations==2.0.8"
        assert known["albumentations"] == ("" if installed else reason)


def test_grids_of_one_axis_include_all_its_entries() -> None:
    of_optimizers = cells_of("optimizers", CPU)
    assert {cell.optimizer for cell in of_optimizers} == set(
        registry.CATALOGS["optimizers"].entries
    )
    assert len({cell.architecture for cell in of_optimizers}) == 3
    of_nets = cells_of("architectures", CPU)
    assert {cell.architecture for cell in of_nets} == set(
        registry.CATALOGS["architectures"].entries
    )
    assert {cell.optimizer for cell in of_nets} == {"sgd", "adamw"}


def test_the_speedrun_grid_follows_the_protocol_of_the_records() -> None:
    cells = cells_of("speedrun", GPU)
    assert {(cell.protocol, cell.eval_views) for cell in cells} == {("speedrun", 6)}
    epochs = {cell.architecture: cell.epochs for cell in cells}
    assert epochs == {"airnet94": 8, "airnet96": 45, "resnet9": 24, "resnet18": 30}
    assert {cell.epochs for cell in cells_of("speedrun", CPU)} == {BUDGETS["cpu"].epochs}


def test_the_first_experiment_has_five_nets_two_optimizers_two_budgets() -> None:
    cells = cells_of("seed", CPU)
    assert len(cells) == 5 * 2 * 2
    assert {cell.epochs for cell in cells} == {5, 25}
    assert {cell.optimizer for cell in cells} == {"sgd", "adam"}
    assert all(cell.recipe is not None and cell.recipe.label_smoothing == 0 for cell in cells)
    improved = cells_of("seed_improved", CPU)
    assert {(cell.architecture, cell.epochs) for cell in improved} == {
        (cell.architecture, cell.epochs) for cell in cells
    }
    assert not {axes(cell) for cell in improved} & {axes(cell) for cell in cells}


def test_on_a_desk_the_first_experiment_has_wider_nets_that_learn() -> None:
    desk = GridConfig(base=BUDGETS["desk"])
    widths = {cell.architecture: cell.width for cell in cells_of("seed", desk)}
    assert widths.pop("resnet34") < desk.base.width < min(widths.values())
    assert {cell.width for cell in cells_of("seed", GPU)} == {1.0}
    assert {cell.train_images for cell in cells_of("seed", desk)} == {None}  # all


@pytest.mark.parametrize("config", [CPU, GPU], ids=["cpu", "gpu"])
def test_the_decode_grid_feeds_nets_of_growing_size_from_every_pipeline_that_decodes(
    config: GridConfig,
) -> None:
    cells = cells_of("decode", config)
    decode = {name for name, entry in building.catalog.entries.items() if entry.decodes}
    assert decode >= {"native", "dali", "torchvision"}
    usable = {entry.name for entry in config.entries("pipelines")}
    for net in ("cnn2", "cnn4", "cnn6", "resnet18"):
        names = [cell.pipeline.partition("[")[0] for cell in cells if cell.architecture == net]
        assert sorted(names) == sorted(decode & usable)
    assert len({(cell.batch_size, cell.epochs, cell.train_images) for cell in cells}) == 1
    assert GRIDS["decode"].files


def test_grids_are_registered_under_their_names() -> None:
    assert all(name == entry.name and entry.why for name, entry in GRIDS.items())


def test_a_pipeline_that_cannot_be_imported_keeps_its_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unavailable(spelling: str) -> str:
        raise Unavailable("no such library")

    monkeypatch.setattr(building, "canonical_name", unavailable)
    assert CPU.cell("cnn2", "sgd", "none", "kornia").pipeline == "kornia"


@pytest.mark.parametrize("compiled", [False, True])
def test_runs_are_ordered_by_seed_and_those_of_a_compiled_net_are_consecutive(
    compiled: bool,
) -> None:
    nets, optimizers, seeds = ("resnet34", "resnet18"), ("sgd", "adamw"), range(2)
    cells = [
        made_cell(architecture=net, optimizer=optimizer, compile=compiled)
        for optimizer in optimizers
        for net in nets
    ]
    runs = runs_of(cells, seeds=seeds, fingerprint="f00d")
    found = [(run.cell.architecture, run.seed, run.cell.optimizer) for run in runs]
    if compiled:
        assert found == list(product(nets, seeds, optimizers))
    else:
        assert found == [(net, seed, name) for seed, name, net in product(seeds, optimizers, nets)]
    assert {run.fingerprint for run in runs} == {"f00d"}
    assert runs[0].versions == registry.versions(cells[0])
    assert len({run.id for run in runs}) == len(runs)
