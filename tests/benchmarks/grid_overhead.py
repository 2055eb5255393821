"""What `bench run` costs beside the training: wall time against the sum of the training clocks.

    python -m tests.benchmarks.grid_overhead [SEEDS]

The command on a small real grid: cnn4 and resnet18 with SGD and AdamW at scale cpu on generated
images, into an empty folder; then once more with nothing left to do, also in CPU seconds.
"""

import sys
import tempfile
from pathlib import Path

from bench.record import Record
from bench.store.groups import groups
from bench.store.store import Store
from tests.benchmarks.common import conditions, print_figures
from tests.benchmarks.start_up import process

GRID = ("--grid", "optimizers", "--source", "shapes", "--device", "cpu", "--no-compile",
        "-k", "(cnn4 or resnet18) and (sgd or adamw)")  # fmt: skip
PARTS = ("load_s", "build_s", "warmup_s", "train_s", "evaluate_s")


def command_s(folder: Path, seeds: int) -> tuple[float, float]:
    """Wall and CPU seconds of the command."""
    where = ("--seeds", str(seeds), "--out", str(folder))
    wall_s, cpu_s, _ = process([sys.executable, "-m", "bench", "run", *GRID, *where])
    return wall_s, cpu_s


def breakdown(wall_s: float, records: list[Record]) -> dict[str, float]:
    """Seconds of the grid by what they went to; `compile_s` is part of `warmup_s`."""
    parts = {name: sum(getattr(record.timings, name) for record in records) for name in PARTS}
    runs_s = sum(record.timings.total_s for record in records)
    imports = {record.timings.import_s for record in records}  # one a worker, in each of its runs
    parts["import_s"] = sum(imports)
    parts["rest_of_runs_s"] = runs_s - sum(parts[name] for name in PARTS)
    parts["beside_runs_s"] = wall_s - runs_s
    compile_s = {record.cell.architecture: record.timings.compile_s for record in records}
    parts["compile_s"] = sum(compile_s.values())
    return {name: round(seconds, 3) for name, seconds in parts.items()}


def main(seeds: int = 1) -> None:
    before = conditions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall_s, _ = command_s(folder, seeds)
        (group,) = groups(folder)
        records = Store(group.folder).records()
        again_s, again_cpu_s = command_s(folder, seeds)
    training_s = sum(record.timings.train_s for record in records)
    figures = {
        "runs": sorted(record.name for record in records),
        "statuses": sorted({record.status for record in records}),
        "wall_s": round(wall_s, 3),
        "training_s": round(training_s, 3),
        "wall_over_training": round(wall_s / training_s, 3),
        "parts": breakdown(wall_s, records),
        "nothing_to_do_s": round(again_s, 3),
        "nothing_to_do_cpu_s": round(again_cpu_s, 3),
    }
    print_figures(before, figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
