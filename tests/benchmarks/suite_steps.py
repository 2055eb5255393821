"""A training step of the suite beside one of a bare loop of the same net, in turns, on the CPU.

    python tests/benchmarks/suite_steps.py [PAIRS] [eager|compiled]

cnn4 and resnet18 as scale cpu has them, and resnet18 at its full width; SGD, cached batches of
generated images. The suite's side is what a run does (`bench.loop.train_epoch` with the step that
`bench.prepare` makes); the other is written by hand: forward, loss, backward, update, no more. Each
has a net of its own with the same first weights. A turn is a few steps, which side first changes;
100 pairs of turns unless said, eager and compiled unless said. Prints JSON: seconds of a step, and
the throughput of the suite over that of the bare loop with a bootstrap interval.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from bench import optimizers  # noqa: E402
from bench.draft import Draft, Job  # noqa: E402
from bench.loop import train_epoch  # noqa: E402
from bench.prepare import Parts, Shared, build_net, fresh_step, prepare  # noqa: E402
from bench.threads import computing  # noqa: E402
from pipelines import sources  # noqa: E402
from pipelines.base import Batch  # noqa: E402
from tests.benchmarks.side_by_side import conditions, median_ratio, told  # noqa: E402
from tests.made import made_run  # noqa: E402

NETS = {
    "cnn4, width 0.125, batch 64": ("cnn4", 0.125),
    "resnet18, width 0.125, batch 64": ("resnet18", 0.125),
    "resnet18, width 1, batch 64": ("resnet18", 1.0),
}
TURN_S, MOST_STEPS, WARM_UP = 0.2, 50, 3
CPU = torch.device("cpu")
Side = Callable[[Iterable[Batch]], object]


def bare(parts: Parts) -> Side:
    """A loop as one writes it, on a net of its own."""
    net = build_net(parts.cell, parts.seed, parts.training, CPU, Shared())
    entry = optimizers.catalog.get("sgd")
    recipe = entry.default_recipe(parts.cell.batch_size)
    optimizer = entry.build(net.module, recipe)

    def loop(batches: Iterable[Batch]) -> None:
        for x_BCHW, labels_B in batches:
            logits_BK = net.forward(x_BCHW)
            loss = F.cross_entropy(logits_BK, labels_B, label_smoothing=recipe.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return loop


def turn_s(side: Side, batches: list[Batch]) -> float:
    """Seconds of a step, over a turn."""
    start = time.perf_counter()
    side(batches)
    return (time.perf_counter() - start) / len(batches)


def measured(architecture: str, width: float, compiled: bool, pairs: int) -> dict[str, object]:
    """Both sides of one net."""
    run = made_run(
        architecture=architecture, width=width, batch_size=64, pipeline="native[eager]",
        compile=compiled, epochs=1000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, computing(run.cell):
        draft = Draft(job=Job(run=run, folder=folder, data_dir=str(sources.default_data_dir())))
        parts = prepare(draft, Shared(), CPU)
        step, other = fresh_step(parts), bare(parts)
        batch = next(iter(parts.pipeline.epoch(0)))
        sides = {"suite": lambda batches: train_epoch(step, batches, CPU), "bare": other}
        for side in sides.values():
            side([batch] * WARM_UP)
        one_s = turn_s(other, [batch] * WARM_UP)
        turn = [batch] * max(1, min(MOST_STEPS, round(TURN_S / one_s)))
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for pair in range(pairs):
            for name in sorted(sides, reverse=bool(pair % 2)):
                seconds[name].append(turn_s(sides[name], turn))
        parts.close()
    return {
        "steps_a_turn": len(turn),
        "step_ms": {name: round(1000 * median(found), 3) for name, found in seconds.items()},
        "suite_over_bare_throughput": median_ratio(seconds["bare"], seconds["suite"]),
    }


def main(pairs: int = 100, *modes: str) -> None:
    """Measures and prints."""
    before = conditions()
    figures = {
        f"{name}, {mode}": measured(*net, mode == "compiled", pairs)
        for mode in modes or ("eager", "compiled")
        for name, net in NETS.items()
    }
    told(before | {"torch": torch.__version__}, {"pairs": pairs, "nets": figures})


if __name__ == "__main__":
    number, *rest = sys.argv[1:] or ["100"]
    main(int(number), *rest)
