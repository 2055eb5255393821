"""A training step of the suite beside one of a bare loop of the same net, in turns, on the CPU.

    python tests/benchmarks/suite_steps.py [SECONDS] [eager|compiled]

cnn4 and resnet18 as scale cpu has them, and resnet18 at its full width with few images a step; SGD,
cached batches of generated images, in a process with the settings of a worker. The suite's side is
what a run does (`bench.training.loop.train_epoch` with the step of `bench.training.setup`); the
other is written by hand: forward, loss, backward, update, no more. Both train the same net by
the same optimizer, as two nets lie differently in memory, which alone makes some percent. A turn
is a few steps, which side first changes; as many pairs of turns as fit into SECONDS for each net
and mode (120 unless said; 20 pairs at least), eager and compiled unless said.
Prints JSON: pairs, seconds of
a step, and the throughput of the suite over that of the bare loop with a bootstrap interval.
"""

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from bench.machine.cpu import training_threads
from bench.training.loop import (
    Step,
    train_epoch,
)
from bench.training.setup import fresh_step
from pipelines.base import Batch
from tests.benchmarks.as_worker import begin_as_worker
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

NETS = {
    "cnn4, width 0.125, batch 64": ("cnn4", 0.125, 64),
    "resnet18, width 0.125, batch 64": ("resnet18", 0.125, 64),
    "resnet18, width 1, batch 16": ("resnet18", 1.0, 16),
}
TURN_S, MOST_STEPS, WARM_UP, LEAST_PAIRS = 0.2, 50, 3, 20
Side = Callable[[Iterable[Batch]], object]


def bare(step: Step) -> Side:
    """A loop as one writes it."""

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
    """Both sides of one net."""
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
    """Measures and prints."""
    before = conditions()
    figures = {
        f"{name}, {mode}": measured(*net, mode == "compiled", span_s)
        for mode in modes or ("eager", "compiled")
        for name, net in NETS.items()
    }
    told(before | {"torch": torch.__version__}, {"nets": figures})


if __name__ == "__main__":
    begin_as_worker()


if __name__ == "__main__":
    number, *rest = sys.argv[1:] or ["120"]
    main(float(number), *rest)
