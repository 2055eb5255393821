"""Named grids, functions that return cells, and the settings that all cells of a grid share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cell import Cell, Run, Scale
from bench.errors import check_choice
from bench.grid import registry
from bench.grid.recipe_files import Book
from bench.listing import Listing
from pipelines.catalog import Origin, Unavailable

_FULL = Cell(
    architecture="",
    optimizer="",
    augmentation="",
    pipeline="",
    scale="full",
    device="cuda",
    epochs=16,
    batch_size=512,
    target_accuracy=0.90,
)
BUDGETS: dict[Scale, Cell] = {  # size and epochs of the cells of a scale
    "full": _FULL,
    "desk": replace(  # six nets, three optimizers, three augmentations: a night without a GPU
        _FULL,
        scale="desk",
        device="cpu",
        epochs=10,
        batch_size=128,
        width=0.25,
        target_accuracy=0.80,
    ),
    "cpu": replace(
        _FULL,
        scale="cpu",
        device="cpu",
        epochs=3,
        batch_size=64,
        width=0.125,
        train_images=896,
        validation_images=400,
        test_images=1000,
        target_accuracy=0.25,
    ),
}


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Settings that all cells of a grid share.

    Args:
        base: All fields except names; its batch size is used where there is no recipe.
        replaced: Names by axis that replace the grid's own, as with `--optimizer sgd`.
    """

    base: Cell
    book: Book = field(default_factory=lambda: Book(entries={}))
    replaced: Mapping[str, str] = field(default_factory=dict)

    def entries(self, kind: str) -> list[Listing]:
        """The usable entries of a kind, such as "optimizers"."""
        return [entry for entry in registry.known(kind) if not entry.problem]

    def names(self, kind: str, *, defaults: bool = False) -> list[str]:
        """Names of the usable entries of a kind, or of those that the default grid uses."""
        return [entry.name for entry in self.entries(kind) if entry.default or not defaults]

    def cell(self, architecture: str, optimizer: str, augmentation: str, pipeline: str) -> Cell:
        """One cell, with the recipe of its net and optimizer."""
        names: dict[str, Any] = {
            "architecture": architecture,
            "optimizer": optimizer,
            "augmentation": augmentation,
            "pipeline": _spelled(pipeline),
        }
        cell = replace(self.base, **(names | dict(self.replaced)))
        try:
            recipe, size = self.book.find(cell.architecture, cell.optimizer, cell.batch_size)
        except Unavailable:  # the cell will be skipped with the reason
            recipe, size = None, cell.batch_size
        width = self.base.width if registry.scales(cell.architecture) else 1.0
        return replace(cell, recipe=recipe, batch_size=size, width=width)

    def of(self, **changes: Any) -> "GridConfig":
        """A copy with other values of the cells' fields: `config.of(epochs=5)`."""
        return replace(self, base=replace(self.base, **changes))


def _spelled(pipeline: str) -> str:
    """The canonical spelling; unchanged for a pipeline that is unavailable here.

    Raises:
        UnknownName: There is no such pipeline.
    """
    try:
        return registry.canonical_name(pipeline)
    except Unavailable:
        return pipeline


Cells = Callable[[GridConfig], list[Cell]]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid as an entry: its name, what it is for, its cells, and whether it needs image files."""

    name: str
    why: str
    cells: Cells
    files: bool = False


GRIDS: dict[str, Grid] = {}
PLUGIN_GRIDS: dict[str, tuple[Grid, Origin]] = {}  # grids of plugins that are loaded


def _grid(name: str, why: str, *, files: bool = False) -> Callable[[Cells], Cells]:
    """Adds the decorated function to `GRIDS`."""

    def add(cells: Cells) -> Cells:
        GRIDS[name] = Grid(name=name, why=why, cells=cells, files=files)
        return cells

    return add


@_grid("default", "default architectures x optimizers x augmentations, one net x every pipeline")
def default(config: GridConfig) -> list[Cell]:
    """All defaults with kornia, and all pipelines with a net so small that they limit it."""
    cells = [
        config.cell(architecture, optimizer, augmentation, "kornia")
        for architecture in config.names("architectures", defaults=True)
        for optimizer in config.names("optimizers", defaults=True)
        for augmentation in config.names("augmentations", defaults=True)
    ]
    pipeline_slice = [
        config.cell("cnn4", "sgd", augmentation, pipeline.name)
        for augmentation in config.names("augmentations", defaults=True)
        for pipeline in config.entries("pipelines")
        if not pipeline.install  # the same cells wherever it is run
    ]
    return unique([*cells, *pipeline_slice])


@_grid("pipelines", "a small and a larger net x all augmentations x every mode of every pipeline")
def pipelines(config: GridConfig) -> list[Cell]:
    return [
        config.cell(architecture, "sgd", augmentation, pipeline.name + f"[{mode}]" * bool(mode))
        for architecture in ("cnn4", "resnet18")
        for augmentation in config.names("augmentations")
        for pipeline in config.entries("pipelines")
        for mode in pipeline.modes or ("",)
        if mode != "own"  # other work by the same names
    ]


@_grid(
    "decode",
    "every pipeline that decodes image files x nets of growing size: who waits?",
    files=True,
)
def decode(config: GridConfig) -> list[Cell]:
    """Short runs that show from which net on the pipeline no longer matters.

    From `cnn2` to `resnet18` the work of a step grows twenty times. All have one batch size, so
    that they read alike.
    """
    full = config.base.scale == "full"
    small = config.of(
        epochs=2,
        train_images=25_600 if full else 512,
        validation_images=1000 if full else 100,
        test_images=1000 if full else 100,
    )
    cells = [
        small.cell(architecture, "sgd", "resized_crop", pipeline.name)
        for architecture in ("cnn2", "cnn4", "cnn6", "resnet18")
        for pipeline in config.entries("pipelines")
        if pipeline.decodes
    ]
    return [replace(cell, batch_size=128 if full else 32) for cell in cells]


@_grid("smoke", "a tiny cell for each pipeline: does everything work here?")
def smoke(config: GridConfig) -> list[Cell]:
    """A tiny cell for each pipeline, with the default grid's optimizers in turn."""
    tiny = config.of(
        epochs=1,
        batch_size=64,
        width=0.125,
        train_images=1024,
        validation_images=500,
        test_images=1000,
    )
    return [
        tiny.cell("cnn2", "sgd", "flip_crop", "native"),
        tiny.cell("cnn4", "adamw", "flip_crop_cutout", "kornia"),
        tiny.cell("resnet18", "muon", "none", "torchvision"),
        tiny.cell("cnn2", "sgd", "flip_crop", "dali"),
        tiny.cell("cnn2", "sgd", "flip_crop", "torchvision_batch"),
    ]


@_grid("optimizers", "every optimizer x a plain, a residual and an attention net")
def all_optimizers(config: GridConfig) -> list[Cell]:
    return [
        config.cell(architecture, optimizer, "flip_crop", "native")
        for architecture in ("cnn4", "resnet18", "vit_tiny")
        for optimizer in config.names("optimizers")
    ]


@_grid("architectures", "every net x SGD and AdamW")
def all_architectures(config: GridConfig) -> list[Cell]:
    return [
        config.cell(architecture, optimizer, "flip_crop", "native")
        for architecture in config.names("architectures")
        for optimizer in ("sgd", "adamw")
    ]


@_grid(
    "speedrun", "nets of the speed records under their protocol: no validation set, six test views"
)
def speedrun(config: GridConfig) -> list[Cell]:
    """Nets of the CIFAR-10 speed records, under the records' protocol.

    Nothing is held out of the training set; the test set is evaluated once, at the end, with six
    views of each image (the accuracy with one view is recorded too). At full scale each net trains
    for as many epochs as its record.
    """
    records = (
        ("airnet94", "muon_sgd", "speedrun94", 8),
        ("airnet96", "sgd", "speedrun96", 45),
        ("resnet9", "sgd", "flip_crop_cutout", 24),
        ("resnet18", "sgd", "flip_crop", 30),
    )
    config = config.of(protocol="speedrun", eval_views=6)
    full = config.base.scale == "full"
    return [
        (config.of(epochs=epochs) if full else config).cell(net, optimizer, policy, "native")
        for net, optimizer, policy, epochs in records
    ]


# Nets, with widths at which the grid takes about three hours on two cores at scale desk.
SEED_WIDTHS = {"cnn2": 0.5, "cnn4": 0.5, "cnn6": 0.5, "cnn8": 0.5, "resnet34": 0.125}
SEED_NETS = tuple(SEED_WIDTHS)
SEED_EPOCHS = (5, 25)


@_grid("seed", "the experiment this suite grew from (no random seed): 5 nets, SGD and Adam")
def seed(config: GridConfig) -> list[Cell]:
    """Plain nets of growing depth and a ResNet, with SGD and Adam, for 5 and for 25 epochs.

    Uses cross-entropy without label smoothing and no augmentation.
    """
    cells = _seed_cells(config, [("sgd", "none"), ("adam", "none")])
    return [_without_smoothing(cell) for cell in cells]


@_grid("seed_improved", "the nets and epochs of the grid seed, with Muon and augmentation")
def seed_improved(config: GridConfig) -> list[Cell]:
    """What another optimizer and augmentation give, one change at a time and together."""
    changes = [("sgd", "flip_crop_cutout"), ("muon", "none"), ("muon", "flip_crop_cutout")]
    return _seed_cells(config, changes)


def _seed_cells(config: GridConfig, settings: Sequence[tuple[str, str]]) -> list[Cell]:
    cells = [
        config.of(epochs=epochs).cell(architecture, optimizer, augmentation, "native")
        for epochs in SEED_EPOCHS
        for architecture in SEED_NETS
        for optimizer, augmentation in settings
    ]
    if config.base.scale != "desk":
        return cells
    return [replace(cell, width=SEED_WIDTHS.get(cell.architecture, cell.width)) for cell in cells]


def _without_smoothing(cell: Cell) -> Cell:
    if cell.recipe is None or cell.recipe.label_smoothing == 0:
        return cell
    origin = f"{cell.recipe.origin}; no label smoothing"
    return replace(cell, recipe=replace(cell.recipe, label_smoothing=0.0, origin=origin))


def grids() -> dict[str, Grid]:
    """All grids by name, those of plugins last."""
    return GRIDS | {name: grid for name, (grid, _) in PLUGIN_GRIDS.items()}


def home(name: str) -> str:
    """Where a grid is defined; "" if no grid has that name."""
    if name in PLUGIN_GRIDS:
        return PLUGIN_GRIDS[name][1].name
    return "bench/grid/grids.py" if name in GRIDS else ""


def cells_of(grid: str, config: GridConfig) -> list[Cell]:
    """The cells of the grid called `grid`.

    Raises:
        UsageError: No grid has that name.
    """
    known = grids()
    check_choice("grid", grid, known)
    return known[grid].cells(config)


def unique(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without repeats, in order."""
    return list(dict.fromkeys(cells))


def runs_of(cells: Sequence[Cell], seeds: Sequence[int], fingerprint: str) -> list[Run]:
    """Every cell with every seed.

    Runs that share a worker are consecutive; among them, one seed covers all cells before the next
    starts, so that an interrupted grid has complete seeds.
    """
    runs = [
        Run(cell=cell, seed=seed, versions=registry.versions(cell), fingerprint=fingerprint)
        for seed in seeds
        for cell in cells
    ]
    order = {key: index for index, key in enumerate(dict.fromkeys(run.worker_key for run in runs))}
    return sorted(runs, key=lambda run: order[run.worker_key])
