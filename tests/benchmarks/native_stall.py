"""Share of training time spent waiting for the native pipeline.

    python -m tests.benchmarks.native_stall [PAIRS]

ResNet-18 at the width and batch size of scale cpu, SGD, flip_crop on CIFAR-10's training images. A
pair is one step on the pipeline's next batch and one on a cached batch, in alternating order; 1,500
pairs by default. A shared machine disturbs single steps by far more than data costs, so the stall
is that of the median steps, with a bootstrap interval over the pairs.
"""

import sys
import time
from collections.abc import Iterator
from itertools import chain, count

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch.nn import functional as F

import architectures
import pipelines
from bench import optimizers
from bench.grid.grids import BUDGETS
from pipelines.base import Batch
from tests.benchmarks.common import conditions, print_figures, restart_as_worker

WARM_UP = 20
Seconds = NDArray[np.float64]


def main(pairs: int = 1500) -> None:
    before = conditions()
    torch.set_num_threads(1)
    budget = BUDGETS["cpu"]
    images = pipelines.load("cifar10").train
    pipeline = pipelines.build("native", images, "flip_crop", batch_size=budget.batch_size)
    net = architectures.build("resnet18", width=budget.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    entry = optimizers.catalog.get("sgd")
    optimizer = entry.build(net, entry.default_recipe(budget.batch_size))

    def step(batches: Iterator[Batch]) -> tuple[float, float]:
        """Seconds of a step and, of these, seconds of waiting for its batch."""
        start = time.perf_counter()
        x_BCHW, labels_B = next(batches)
        waited = time.perf_counter() - start
        F.cross_entropy(net(x_BCHW), labels_B).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start, waited

    stream = chain.from_iterable(pipeline.epoch(number) for number in count())
    cached = next(stream)
    for _ in range(WARM_UP):
        step(stream)
    with_data, with_cached, waits = np.empty((3, pairs))
    for pair in range(pairs):
        if pair % 2:
            with_cached[pair] = step(iter([cached]))[0]
        with_data[pair], waits[pair] = step(stream)
        if not pair % 2:
            with_cached[pair] = step(iter([cached]))[0]
    print_figures(before, summary(with_data, with_cached, waits))


def summary(with_data: Seconds, with_cached: Seconds, waits: Seconds) -> dict[str, object]:
    """The stall with its 95 % interval, and the share of time inside `next`."""

    def stall_pct(data: Seconds, cached: Seconds) -> float:
        return float(100 * (1 - np.median(cached) / np.median(data)))

    found = bootstrap(
        (with_data, with_cached), stall_pct, paired=True, vectorized=False, method="percentile"
    )
    interval = found.confidence_interval
    return {
        "pairs": len(waits),
        "stall_pct": stall_pct(with_data, with_cached),
        "stall_pct_95": [interval.low, interval.high],
        "inside_next_pct": float(100 * waits.sum() / with_data.sum()),
        "step_ms_quartiles": list(np.percentile(1000 * with_cached, [25, 50, 75])),
    }


if __name__ == "__main__":
    restart_as_worker()
    main(*map(int, sys.argv[1:]))
