"""What the native pipeline costs a training, measured in turns with steps on a cached batch.

    python tests/benchmarks/native_stall.py [ROUNDS]

ResNet-18 at the width and batch size of scale cpu, SGD, flip_crop on all of CIFAR-10's training
images. A round is 20 steps on batches of the pipeline and 20 on one batch that is there already,
which of the two first in turns; 15 rounds unless said. Prints JSON: the share of time that data
took in each round, its median and quartiles.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterable
from itertools import islice, repeat
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import architectures  # noqa: E402
import pipelines  # noqa: E402
from bench import optimizers  # noqa: E402
from bench.setting import BUDGETS  # noqa: E402
from pipelines.base import Batch  # noqa: E402

STEPS = 20


def main(rounds: int = 15) -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    budget = BUDGETS["cpu"]
    images = pipelines.load("cifar10").train
    pipeline = pipelines.build("native", images, "flip_crop", batch_size=budget.batch_size)
    net = architectures.build("resnet18", width=budget.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    entry = optimizers.catalog.get("sgd")
    optimizer = entry.build(net, entry.default_recipe(budget.batch_size))

    def seconds(batches: Iterable[Batch]) -> float:
        start = time.perf_counter()
        for x_BCHW, labels_B in batches:
            F.cross_entropy(net(x_BCHW), labels_B).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    stream = pipeline.epoch(0)
    cached = next(iter(stream))
    seconds(islice(stream, STEPS))
    stalls = []
    for number in range(rounds):
        sides = {"data": lambda: islice(stream, STEPS), "cached": lambda: repeat(cached, STEPS)}
        order = list(sides) if number % 2 else list(sides)[::-1]
        took = {side: seconds(sides[side]()) for side in order}
        stalls.append(100 * (1 - took["cached"] / took["data"]))
    low, middle, high = statistics.quantiles(stalls, n=4)
    print(json.dumps({"stall_pct": stalls, "median": middle, "quartiles": [low, high]}, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
