"""What half-precision weights and two other tricks of speed records cost in accuracy.

    python -m tests.benchmarks.record_tricks [SEEDS]

airnet94 at a quarter of its width, six epochs of 10,000 images of CIFAR-10, bf16 autocast on the
CPU, six test views; the variants of one seed are trained one after the other. Differences are from
the plain recipe with the same seed, in points, with 95 % t intervals. SEEDS is 10 by default.
"""

import sys
from collections import defaultdict
from dataclasses import replace
from statistics import fmean
from typing import Any

from bench.cell import Cell
from bench.grid.grids import BUDGETS, GridConfig
from bench.grid.recipe_files import book
from tests.benchmarks.common import accuracy_pct, conditions, paired_gain, print_figures

BATCH = 250
TRICKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights in bf16": {"weights": "bf16"},
    "whitening from 960 images": {"fit_images": 960},
    "renormalised every 4 steps": {"renormalise_every": 4},
    "all three": {"weights": "bf16", "fit_images": 960, "renormalise_every": 4},
}


def cell_of(changes: dict[str, Any]) -> Cell:
    """The grid's cell of airnet94, narrow and short."""
    base = replace(
        BUDGETS["full"], source="cifar10", device="cpu", precision="bf16", epochs=6,
        train_images=10_000, width=0.25, protocol="speedrun", eval_views=6,
    )  # fmt: skip
    config = GridConfig(base=base, book=book("full"))
    cell = config.cell("airnet94", "muon_sgd", "speedrun94", "native")
    assert cell.recipe is not None
    return replace(cell, batch_size=BATCH, recipe=replace(cell.recipe, **changes))


def main() -> None:
    """Trains all and prints the figures."""
    seeds, before = int(sys.argv[1]) if len(sys.argv) > 1 else 10, conditions()
    found: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        for name, changes in TRICKS.items():
            found[name].append(accuracy_pct(cell_of(changes), seed))
            print(f"seed {seed}, {name}: {found[name][-1]:.2f} %", file=sys.stderr, flush=True)
    gained = {name: paired_gain(found[name], found["plain"]) for name in list(TRICKS)[1:]}
    plain = {"seeds": seeds, "plain_accuracy_pct": round(fmean(found["plain"]), 2)}
    print_figures(before, plain | {"points": gained})


if __name__ == "__main__":
    main()
