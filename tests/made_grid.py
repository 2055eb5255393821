"""Grids of made records with planted truths and known noise."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from bench.record import Record
from tests.made import made_record

NETS = ("cnn2", "cnn4", "resnet18", "vgg11", "vit")


def made_grid(
    planted: Callable[..., dict[str, float | None]] = lambda **_: {},
    *,
    architecture: Sequence[str] = NETS,
    optimizer: Sequence[str] = ("sgd", "adamw"),
    augmentation: Sequence[str] = ("none", "flip_crop"),
    pipeline: Sequence[str] = ("kornia",),
    epochs: Sequence[int] = (4,),
    seeds: int = 1,
    points: float = 0.5,
    percent: float = 2.0,
    draw: int = 0,
    **cell: object,
) -> list[Record]:
    """Every combination of the levels, with other fields of the cells in `cell`.

    `planted` gets the levels of a cell by axis and returns what is not 0.6, 1,000 or 3.0. Standard
    deviations of the noise: `points` (percent) of accuracies, `percent` of speeds and times.
    """
    rng = np.random.default_rng(draw)
    names = ("architecture", "optimizer", "augmentation", "pipeline", "epochs")
    found = []
    for levels in itertools.product(architecture, optimizer, augmentation, pipeline, epochs):
        fields = dict(zip(names, levels, strict=True))
        truth = {"accuracy": 0.6, "images_per_s": 1000.0, "time_to_accuracy_s": 3.0}
        truth |= planted(**fields)
        for seed in range(seeds):
            time_s = truth["time_to_accuracy_s"]
            quick = float(np.exp(rng.normal(0, percent / 100)))
            found.append(
                made_record(
                    seed,
                    accuracy=truth["accuracy"] + rng.normal(0, points / 100),
                    images_per_s=truth["images_per_s"] * quick,
                    time_to_accuracy_s=None if time_s is None else time_s / quick,
                    **fields | cell,
                )
            )
    return found
