"""Which threads, memory layout and compile setting a training step is fastest with on a CPU.

    python tests/benchmarks/cpu_settings.py [ROUNDS] [NAME=VALUE ...]

The default nets as scale cpu has them, SGD, a cached batch of generated images. Every setting of a
net takes a turn of some steps in each round, in an order that changes; 20 rounds unless said.
`threads=1,2`, `layout=channels_last,contiguous` and `mode=eager,compiled` narrow the settings, and
`nets=cnn4` the nets.
Prints JSON: milliseconds of a step (median), and the throughput of each setting over that of the
first with a bootstrap interval. What `bench/threads.py` and `bench/prepare.py` choose rests on it.
"""

import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import torch

from bench.grid import registry
from bench.grid.grids import BUDGETS
from bench.process import usable_cores
from bench.training.loop import (
    Step,
    train_epoch,
)
from bench.training.setup import fresh_step
from pipelines.base import Batch
from tests.benchmarks.prepared import (
    CPU,
    prepared,
)
from tests.benchmarks.side_by_side import (
    conditions,
    median_ratio,
    told,
)
from tests.made import made_run

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
STEPS, WARM_UP = 4, 3
Setting = tuple[int, str, str]


def side(architecture: str, setting: Setting) -> tuple[Step, Batch]:
    """The step of a net under a setting, warmed up, and a batch for it."""
    threads, layout, mode = setting
    torch.set_num_threads(threads)
    budget = BUDGETS["cpu"]
    run = made_run(
        architecture=architecture, width=budget.width, batch_size=budget.batch_size,
        pipeline="native[eager]", compile=mode == "compiled", epochs=1000,
    )  # fmt: skip
    _, parts = prepared(run)
    parts.net.module.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    images_BCHW, labels = next(iter(parts.pipeline.epoch(0)))
    batch = images_BCHW.contiguous(memory_format=LAYOUTS[layout]), labels
    step = fresh_step(parts)
    train_epoch(step, [batch] * WARM_UP, CPU)
    return step, batch


def measured(architecture: str, settings: Sequence[Setting], rounds: int) -> dict[str, object]:
    """All settings of one net, in turns."""
    seconds: dict[Setting, list[float]] = {setting: [] for setting in settings}
    sides = {setting: side(architecture, setting) for setting in settings}
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
    """Measures and prints."""
    before = conditions()
    choices = {
        "threads": ",".join(map(str, sorted({1, usable_cores()}))),
        "layout": ",".join(LAYOUTS),
        "mode": "eager,compiled",
    } | dict(asked)
    threads, layouts, modes = (choices[name].split(",") for name in ("threads", "layout", "mode"))
    settings = list(itertools.product(map(int, threads), layouts, modes))
    nets = asked.get("nets", ",".join(registry.defaults("architectures"))).split(",")
    figures = {net: measured(net, settings, rounds) for net in nets}
    told(before | {"torch": torch.__version__}, {"rounds": rounds, "nets": figures})


if __name__ == "__main__":
    words = sys.argv[1:]
    number = int(words.pop(0)) if words and words[0].isdigit() else 20
    main(number, dict(word.split("=", 1) for word in words))
