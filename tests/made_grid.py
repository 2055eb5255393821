"""Grids of generated records with planted effects and known noise."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

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
    """Every combination of the levels; `cell` sets other fields of all cells.

    `planted` gets the levels of a cell by axis and returns the true values that differ from 0.6,
    1,000 images/s and 3.0 s. Standard deviations of the noise: `points` (percent) of accuracies,
    `percent` of speeds and times.
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


def lucky_grid(
    draw: int,
    *,
    nets: int,
    seeds: int = 1,
    optimizers: Sequence[str] = ("sgd", "muon"),
    policies: Sequence[str] = ("none", "flip_crop", "cutout"),
    pipelines: Sequence[str] = ("kornia",),
    gain: float = 0.0,
    muon_faster: float = 1.0,
    native_faster: float = 1.0,
    missing: float = 0.0,
    heavy_tails: bool = False,
) -> list[Record]:
    """Runs whose noise is 0.5 points shared by all policies and 0.3 points of their own.

    Muon is better by `gain` points and faster by a factor, the pipeline native only faster.
    `missing` is the share of runs that miss the target, whatever their cell.
    """
    rng = np.random.default_rng(draw)

    def noise(*size: int) -> Any:
        return rng.standard_t(3, size) / 3**0.5 if heavy_tails else rng.normal(0, 1, size)

    found = []
    for net, optimizer in itertools.product(range(nets), optimizers):
        shared = 0.5 * noise(seeds)
        muon = optimizer == "muon"
        for policy, pipeline, seed in itertools.product(policies, pipelines, range(seeds)):
            points = shared[seed] + 0.3 * noise() + gain * muon
            speed, time_s = np.exp(0.03 * noise(2)).tolist()
            faster = (muon_faster if muon else 1) * (native_faster if pipeline == "native" else 1)
            found.append(
                made_record(
                    seed,
                    architecture=f"net{net}",
                    optimizer=optimizer,
                    augmentation=policy,
                    pipeline=pipeline,
                    accuracy=0.6 + float(points) / 100,
                    images_per_s=1000 * speed * faster,
                    time_to_accuracy_s=None if rng.random() < missing else 3 * time_s,
                )
            )
    return found
