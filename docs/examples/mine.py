"""A plugin with one part of each kind."""

from collections.abc import Iterator

import torch
from torch import nn

from architectures import Architecture, Spec
from bench.cell import Cell
from bench.grid.grids import Grid, GridConfig
from bench.optimizers import Optimizer
from bench.recipe import Recipe
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, normalise
from pipelines.ops import HorizontalFlip


def build_net(spec: Spec) -> nn.Module:
    width = spec.scaled(64)
    return nn.Sequential(
        nn.Conv2d(spec.channels, width, 5, stride=2, padding=2),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * width, spec.classes),
    )


def build_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(
        net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, eps=recipe.option("eps")
    )


class Mirrors(Pipeline):
    """Images on the device, each mirrored with a probability."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, mirrors.semantics(request.augmentation))
        self._images_NHWC = request.images.images.to(request.device)
        self._labels_N = request.images.labels.to(request.device)

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        generator = torch.Generator().manual_seed(derive_seed(request.seed, "coins", index))
        for index_B in self.permutation(index):
            images_BHWC = self._images_NHWC[index_B.to(request.device)]
            for op in request.augmentation.ops:
                coins_B = torch.rand(len(index_B), generator=generator) < op.p
                mirrored_B111 = coins_B.to(request.device)[:, None, None, None]
                images_BHWC = torch.where(mirrored_B111, images_BHWC.flip(2), images_BHWC)
            x_BCHW = normalise(images_BHWC, request.images, request.dtype, request.memory_format)
            yield x_BCHW, self._labels_N[index_B.to(request.device)]


def cells(config: GridConfig) -> list[Cell]:
    return [
        config.cell("one_layer", "adagrad", "mirrored", "mirrors"),
        config.cell("one_layer", "sgd", "mirrored", "native"),
    ]


one_layer = Architecture(
    name="one_layer",
    why="shows what one convolution reaches",
    reference="an example",
    build=build_net,
    parameters=15_242,
)
adagrad = Optimizer(
    name="adagrad",
    why="each weight's rate decreases with its past gradients",
    reference="Duchi et al. 2011",
    build=build_optimizer,
    recipe=Recipe(lr=0.01),
    options={"eps": 1e-10},
)
mirrored = Augmentation(
    name="mirrored",
    why="shows what mirroring alone gains",
    ops=[HorizontalFlip(p=0.5)],
)
mirrors = Library(
    name="mirrors",
    why="a minimal pipeline",
    build=Mirrors,
    ops={HorizontalFlip: "per sample"},
)
mine = Grid(name="mine", why="compares ours with the suite's", cells=cells)
