"""What training in bf16 instead of fp32 costs in accuracy on a CPU.

    python -m tests.benchmarks.precision_accuracy [SEEDS]

Three nets as at scale desk, five epochs of 10,000 images of CIFAR-10, and airnet94 as in
`record_tricks.py`, each in both precisions with the same seeds. Differences are bf16 minus fp32, in
points, with 95 % t intervals. SEEDS is 8 by default.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

from bench.cell import Cell
from bench.grid.grids import BUDGETS, GridConfig
from tests.benchmarks import record_tricks
from tests.benchmarks.common import accuracy_pct, conditions, paired_gain, print_figures


def cells() -> Iterator[Cell]:
    base = replace(BUDGETS["desk"], source="cifar10", epochs=5, train_images=10_000)
    for net in ("cnn4", "vgg11_bn", "resnet18"):
        yield GridConfig(base=base).cell(net, "sgd", "flip_crop", "native")
    yield record_tricks.cell_of({})


def main(seeds: int = 8) -> None:
    before, figures = conditions(), {}
    for cell in cells():
        fp32, bf16 = replace(cell, precision="fp32"), replace(cell, precision="bf16")
        found: dict[Cell, list[float]] = {fp32: [], bf16: []}
        for seed in range(seeds):
            for side, accuracies in found.items():
                accuracies.append(accuracy_pct(side, seed))
                done = f"{side.architecture}, {side.precision}, seed {seed}: {accuracies[-1]:.2f} %"
                print(done, file=sys.stderr, flush=True)
        figures[cell.architecture] = {
            "fp32_accuracy_pct": round(fmean(found[fp32]), 2),
            "bf16_minus_fp32": paired_gain(found[bf16], found[fp32]),
        }
    print_figures(before, {"seeds": seeds, "nets": figures})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
