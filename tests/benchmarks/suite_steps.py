"""Training steps of the suite against a bare loop over the same net on the CPU.

    python -m tests.benchmarks.suite_steps [SECONDS] [eager|compiled]

cnn4 and resnet18 at scale cpu, and resnet18 at full width with a small batch; SGD, cached batches
of generated images, with the settings of a worker. The suite's side is
`bench.training.loop.train_epoch` with the step of `bench.training.setup`; the bare loop is forward,
loss, backward, update. Both train the same net, since two nets differ by some percent through their
place in memory. The sides take turns of a few steps for SECONDS (default 120) for each net and
mode. The figure is the suite's throughput relative to the bare loop's, with a bootstrap interval.
"""

import sys
import time
from collections.abc import Callable, Iterable
from statistics import median

import torch
from torch.nn import functional as F

from bench.machine.cpu import training_threads
from bench.training.loop import Step, train_epoch
from bench.training.setup import fresh_step
from pipelines.base import Batch
from tests.benchmarks.common import (
    conditions,
    median_ratio,
    prepared,
    print_figures,
    restart_as_worker,
)
from tests.made import made_run

CPU = torch.device("cpu")
NETS = {
    "cnn4, width 0.125, batch 64": ("cnn4", 0.125, 64),
    "resnet18, width 0.125, batch 64": ("resnet18", 0.125, 64),
    "resnet18, width 1, batch 16": ("resnet18", 1.0, 16),
}
TURN_S, MOST_STEPS, WARM_UP, LEAST_PAIRS = 0.2, 50, 3, 20
Side = Callable[[Iterable[Batch]], object]


def bare(step: Step) -> Side:

    def loop(batches: Iterable[Batch]) -> None:
        for x_BCHW, labels_B in batches:
            logits_BK = step.model(x_BCHW)
            loss = F.cross_entropy(logits_BK, labels_B, label_smoothing=step.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            step.optimizer.step()
            step.optimizer.zero_grad(set_to_none=True)

    return loop


def turn_s(side: Side, batches: list[Batch]) -> float:
    """Seconds of a step, over a turn."""
    start = time.perf_counter()
    side(batches)
    return (time.perf_counter() - start) / len(batches)


def measured(
    architecture: str, width: float, batch_size: int, compiled: bool, span_s: float
) -> dict[str, object]:
    run = made_run(
        architecture=architecture, width=width, batch_size=batch_size, pipeline="native[eager]",
        compile=compiled, epochs=1000,
    )  # fmt: skip
    with training_threads(run.cell):
        _, parts = prepared(run)
        step = fresh_step(parts)
        other = bare(step)
        batch = next(iter(parts.pipeline.epoch(0)))
        sides = {"suite": lambda batches: train_epoch(step, batches, CPU), "bare": other}
        for side in sides.values():
            side([batch] * WARM_UP)
        one_s = turn_s(other, [batch] * WARM_UP)
        turn = [batch] * max(1, min(MOST_STEPS, round(TURN_S / one_s)))
        pairs = max(LEAST_PAIRS, round(span_s / (2 * len(turn) * one_s)))
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for pair in range(pairs):
            for name in sorted(sides, reverse=bool(pair % 2)):
                seconds[name].append(turn_s(sides[name], turn))
        parts.close()
    return {
        "pairs": pairs,
        "steps_a_turn": len(turn),
        "step_ms": {name: round(1000 * median(found), 3) for name, found in seconds.items()},
        "suite_over_bare_throughput": median_ratio(seconds["bare"], seconds["suite"]),
    }


def main(span_s: float = 120.0, *modes: str) -> None:
    before = conditions()
    figures = {
        f"{name}, {mode}": measured(*net, mode == "compiled", span_s)
        for mode in modes or ("eager", "compiled")
        for name, net in NETS.items()
    }
    print_figures(before | {"torch": torch.__version__}, {"nets": figures})


if __name__ == "__main__":
    restart_as_worker()
    number, *rest = sys.argv[1:] or ["120"]
    main(float(number), *rest)
