"""The threads, memory layout, mode and precision with which a training step is fastest on a CPU.

    python -m tests.benchmarks.cpu_settings [ROUNDS] [NAME=VALUE ...]

The default nets at scale cpu, SGD, a cached batch of generated images. In each of ROUNDS (default
20) rounds every setting of a net takes a turn of some steps. `threads=1,2`,
`layout=channels_last,contiguous`, `mode=eager,compiled` and `nets=cnn4` narrow the choice;
`precision=fp32,bf16` and `scale=desk` add to it. The figures are milliseconds of a step, and each
setting's throughput relative to the first, with a bootstrap interval. What `bench.machine.cpu`
chooses, and `bf16_on_cpu` of an architecture, is based on it.
"""

import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import cast

import torch

from bench.cell import Precision, Scale
from bench.grid import registry
from bench.grid.grids import BUDGETS
from bench.process import usable_cores
from bench.training.loop import Step, train_epoch
from bench.training.setup import fresh_step
from pipelines.base import Batch
from tests.benchmarks.common import conditions, median_ratio, prepared, print_figures
from tests.made import made_run

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CPU = torch.device("cpu")
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
STEPS, WARM_UP = 4, 3
Setting = tuple[int, str, str, Precision]


def side(architecture: str, setting: Setting, scale: Scale) -> tuple[Step, Batch]:
    """The step of a net under a setting, warmed up, and a batch for it."""
    threads, layout, mode, precision = setting
    torch.set_num_threads(threads)
    budget = BUDGETS[scale]
    run = made_run(
        architecture=architecture, width=budget.width, batch_size=budget.batch_size,
        pipeline="native[eager]", compile=mode == "compiled", epochs=1000, precision=precision,
    )  # fmt: skip
    _, parts = prepared(run)
    parts.net.module.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    images_BCHW, labels = next(iter(parts.pipeline.epoch(0)))
    batch = images_BCHW.contiguous(memory_format=LAYOUTS[layout]), labels
    step = fresh_step(parts)
    train_epoch(step, [batch] * WARM_UP, CPU)
    return step, batch


def measured(
    architecture: str, settings: Sequence[Setting], rounds: int, scale: Scale
) -> dict[str, object]:
    seconds: dict[Setting, list[float]] = {setting: [] for setting in settings}
    sides = {setting: side(architecture, setting, scale) for setting in settings}
    for number in range(rounds):
        for setting in settings if number % 2 else reversed(settings):
            step, batch = sides[setting]
            torch.set_num_threads(setting[0])
            start = time.perf_counter()
            train_epoch(step, [batch] * STEPS, CPU)
            seconds[setting].append((time.perf_counter() - start) / STEPS)
    first = seconds[settings[0]]
    return {
        " ".join(map(str, (f"threads={setting[0]}", *setting[1:]))): {
            "step_ms": round(1000 * median(found), 2),
            "throughput_over_first": median_ratio(first, found),
        }
        for setting, found in seconds.items()
    }


def main(rounds: int, asked: Mapping[str, str]) -> None:
    before = conditions()
    choices = {
        "threads": ",".join(map(str, sorted({1, usable_cores()}))),
        "layout": ",".join(LAYOUTS),
        "mode": "eager,compiled",
        "precision": "fp32",
        "scale": "cpu",
        "nets": ",".join(registry.defaults("architectures")),
    } | dict(asked)
    scale = cast(Scale, choices.pop("scale"))
    nets = choices.pop("nets").split(",")
    threads, *others = (text.split(",") for text in choices.values())
    settings = cast(list[Setting], list(itertools.product(map(int, threads), *others)))
    figures = {net: measured(net, settings, rounds, scale) for net in nets}
    described = {"rounds": rounds, "scale": scale, "nets": figures}
    print_figures(before | {"torch": torch.__version__}, described)


if __name__ == "__main__":
    words = sys.argv[1:]
    number = int(words.pop(0)) if words and words[0].isdigit() else 20
    main(number, dict(word.split("=", 1) for word in words))
