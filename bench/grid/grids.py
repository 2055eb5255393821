"""Named grids as functions that return cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import architectures
from bench import optimizers
from bench.cell import Cell, Run
from bench.errors import UsageError
from bench.grid import registry
from bench.grid.config import GridConfig
from pipelines import augmentations, building
from pipelines.catalog import Origin, unknown_name


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid as an entry: what it is for and the cells it has under a setting."""

    name: str
    why: str
    cells: Callable[[GridConfig], list[Cell]]


def default(setting: GridConfig) -> list[Cell]:
    """Default architectures x optimizers x augmentations through kornia, and a pipeline slice."""
    cells = [
        setting.cell(architecture, optimizer, augmentation, "kornia")
        for architecture in registry.defaults("architectures")
        for optimizer in registry.defaults("optimizers")
        for augmentation in registry.defaults("augmentations")
    ]
    return unique([*cells, *pipeline_slice(setting)])


def pipeline_slice(setting: GridConfig) -> list[Cell]:
    """A light net, which waits soonest, over all default augmentations x all pipelines."""
    return [
        setting.cell("cnn4", "sgd", augmentation, pipeline)
        for augmentation in registry.defaults("augmentations")
        for pipeline in building.catalog.entries
    ]


def pipelines(setting: GridConfig) -> list[Cell]:
    """A small and a larger net over all policies x every mode of every pipeline."""
    return [
        setting.cell(architecture, "sgd", augmentation, pipeline)
        for architecture in ("cnn4", "resnet18")
        for augmentation in augmentations.catalog.entries
        for pipeline in building.variants()
    ]


def smoke(setting: GridConfig) -> list[Cell]:
    """A few tiny cells that touch every pipeline and optimizer: does it all work here?"""
    tiny = replace(
        setting,
        budget=replace(
            setting.budget,
            epochs=1,
            batch_size=64,
            width=0.125,
            train_images=1024,
            validation_images=500,
            test_images=1000,
        ),
    )
    return [
        tiny.cell("cnn2", "sgd", "flip_crop", "native"),
        tiny.cell("cnn4", "adamw", "flip_crop_cutout", "kornia"),
        tiny.cell("resnet18", "muon", "none", "torchvision"),
        tiny.cell("cnn2", "sgd", "flip_crop", "dali"),
        tiny.cell("cnn2", "sgd", "flip_crop", "torchvision_batch"),
    ]


def all_optimizers(setting: GridConfig) -> list[Cell]:
    """Every optimizer on a plain, a residual and an attention net."""
    return [
        setting.cell(architecture, optimizer, "flip_crop", "native")
        for architecture in ("cnn4", "resnet18", "vit_tiny")
        for optimizer in optimizers.catalog.entries
    ]


def all_architectures(setting: GridConfig) -> list[Cell]:
    """Every net with the yardstick of convolutional nets and that of transformers."""
    return [
        setting.cell(architecture, optimizer, "flip_crop", "native")
        for architecture in architectures.catalog.entries
        for optimizer in ("sgd", "adamw")
    ]


def speedrun(setting: GridConfig) -> list[Cell]:
    """The nets of the CIFAR-10 speed records, by the records' protocol.

    All 50,000 images train; the test set is seen once, at the end, with six views of each image
    (what one view gives is recorded beside it). At full scale nets have the epochs of the records.
    """
    full = setting.scale == "full"
    records = (
        ("airnet94", "muon_sgd", "speedrun94", 8),
        ("airnet96", "sgd", "speedrun96", 45),
        ("resnet9", "sgd", "flip_crop_cutout", 24),
        ("resnet18", "sgd", "flip_crop", 30),
    )
    record = replace(setting, protocol="speedrun", eval_views=6)
    return [
        (record.of(epochs=epochs) if full else record).cell(net, optimizer, policy, "native")
        for net, optimizer, policy, epochs in records
    ]


def seed(setting: GridConfig) -> list[Cell]:
    """A first experiment: plain nets of growing depth and a ResNet, for 5 and for 25 epochs.

    As it is usually done: cross-entropy without smoothing, no augmentation, SGD and Adam.
    """
    cells = [
        setting.of(epochs=epochs).cell(architecture, optimizer, "none", "native")
        for epochs in (5, 25)
        for architecture in ("cnn2", "cnn4", "cnn6", "cnn8", "resnet34")
        for optimizer in ("sgd", "adam")
    ]
    return [without_smoothing(cell) for cell in cells]


def without_smoothing(cell: Cell) -> Cell:
    """The cell with plain cross-entropy."""
    if cell.recipe is None or cell.recipe.label_smoothing == 0:
        return cell
    origin = f"{cell.recipe.origin}; no label smoothing"
    return replace(cell, recipe=replace(cell.recipe, label_smoothing=0.0, origin=origin))


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
        Grid(
            name="optimizers",
            why="every optimizer x a plain, a residual and an attention net",
            cells=all_optimizers,
        ),
        Grid(name="architectures", why="every net x SGD and AdamW", cells=all_architectures),
        Grid(
            name="speedrun",
            why="the speed records' nets by their protocol: all images, six views",
            cells=speedrun,
        ),
        Grid(
            name="seed",
            why="a first experiment: plain nets and a ResNet, SGD and Adam, 5 and 25 epochs",
            cells=seed,
        ),
        Grid(name="smoke", why="a few tiny cells: does everything work here?", cells=smoke),
    )
}


# Those of plugins, and where each is from; `bench.grid.plugins` joins and leaves them.
JOINED: dict[str, tuple[Grid, Origin]] = {}


def grids() -> dict[str, Grid]:
    """All grids by name, those of plugins last."""
    return GRIDS | {name: grid for name, (grid, _) in JOINED.items()}


def home(name: str) -> str:
    """Who has a grid's name already; "" for nobody."""
    if name in JOINED:
        return JOINED[name][1].name
    return "bench/grid.py" if name in GRIDS else ""


def cells_of(grid: str, setting: GridConfig) -> list[Cell]:
    """The cells of the grid called `grid`.

    Raises:
        UsageError: No grid has that name.
    """
    known = grids()
    if grid not in known:
        raise UsageError(unknown_name("grid", grid, known))
    return known[grid].cells(setting)


def unique(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without repeats, first places kept."""
    return list(dict.fromkeys(cells))


def runs_of(cells: Sequence[Cell], seeds: Sequence[int], fingerprint: str) -> list[Run]:
    """Every cell with every seed.

    Runs that share a worker stand together; within them one seed goes through all cells before
    the next, so that a grid that is cut off has whole seeds.
    """
    runs = [
        Run(cell=cell, seed=seed, versions=registry.versions(cell), fingerprint=fingerprint)
        for seed in seeds
        for cell in cells
    ]
    order = {key: index for index, key in enumerate(dict.fromkeys(run.worker_key for run in runs))}
    return sorted(runs, key=lambda run: order[run.worker_key])
