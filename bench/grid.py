"""Named grids as functions that return cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench import registry
from bench.cell import Cell, Run
from bench.errors import UsageError
from bench.setting import Setting
from pipelines import augmentations, building
from pipelines.catalog import unknown_name


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid as an entry: what it is for and the cells it has under a setting."""

    name: str
    why: str
    cells: Callable[[Setting], list[Cell]]


def default(setting: Setting) -> list[Cell]:
    """Default architectures x optimizers x augmentations through kornia, and a pipeline slice."""
    cells = [
        setting.cell(architecture, optimizer, augmentation, "kornia")
        for architecture in registry.defaults("architectures")
        for optimizer in registry.defaults("optimizers")
        for augmentation in registry.defaults("augmentations")
    ]
    return unique([*cells, *pipeline_slice(setting)])


def pipeline_slice(setting: Setting) -> list[Cell]:
    """One architecture and one optimizer over all default augmentations x all pipelines."""
    return [
        setting.cell("resnet18", "sgd", augmentation, pipeline)
        for augmentation in registry.defaults("augmentations")
        for pipeline in building.catalog.entries
    ]


def pipelines(setting: Setting) -> list[Cell]:
    """A small and a larger net over all policies x every mode of every pipeline."""
    return [
        setting.cell(architecture, "sgd", augmentation, pipeline)
        for architecture in ("cnn4", "resnet18")
        for augmentation in augmentations.catalog.entries
        for pipeline in building.variants()
    ]


def smoke(setting: Setting) -> list[Cell]:
    """A few tiny cells that touch every pipeline and optimizer: does it all work here?"""
    tiny = replace(
        setting,
        budget=replace(
            setting.budget,
            epochs=1,
            batch_size=64,
            width=0.125,
            train_images=1280,
            validation_images=500,
            test_images=1000,
        ),
    )
    return [
        tiny.cell("cnn2", "sgd", "flip_crop", "native"),
        tiny.cell("cnn4", "adamw", "flip_crop_cutout", "kornia"),
        tiny.cell("resnet18", "muon", "none", "torchvision"),
        tiny.cell("cnn2", "sgd", "flip_crop", "dali"),
    ]


GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        Grid(
            name="default",
            why="architectures x optimizers x augmentations, and what the pipeline does",
            cells=default,
        ),
        Grid(
            name="pipelines",
            why="a small and a larger net x all policies x every mode of every pipeline",
            cells=pipelines,
        ),
        Grid(name="smoke", why="a few tiny cells: does everything work here?", cells=smoke),
    )
}


def cells_of(grid: str, setting: Setting) -> list[Cell]:
    """The cells of the grid called `grid`.

    Raises:
        UsageError: No grid has that name.
    """
    if grid not in GRIDS:
        raise UsageError(unknown_name("grid", grid, GRIDS))
    return GRIDS[grid].cells(setting)


def unique(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without repeats, first places kept."""
    return list(dict.fromkeys(cells))


def runs_of(cells: Sequence[Cell], seeds: int, fingerprint: str) -> list[Run]:
    """Every cell with seeds 0 to `seeds` - 1.

    Runs that share a compiled model stand together; within them one seed goes through all cells
    before the next, so that a grid that is cut off has whole seeds.
    """
    order = {key: index for index, key in enumerate(dict.fromkeys(c.model_key for c in cells))}
    runs = [
        Run(cell=cell, seed=seed, versions=registry.versions(cell), fingerprint=fingerprint)
        for seed in range(seeds)
        for cell in cells
    ]
    return sorted(runs, key=lambda run: order[run.cell.model_key])
