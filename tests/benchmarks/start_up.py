"""Time of `bench --help`, of `bench doctor`, and of `bench table` against the number of records.

    python -m tests.benchmarks.start_up [REPEATS] [LARGEST]

Groups of 10, 100, ... up to LARGEST (default 10,000) made records. Each command is a process of its
own; all take turns for REPEATS (default 5) rounds, with `python -c pass` and `import torch` for
comparison. The figures are wall and CPU seconds, descendants included, and peak memory (at least
that of this process), and the time of `bench doctor` in imports of torch. Linux and macOS only.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.record import Record
from tests.benchmarks.common import ROOT, conditions, full_record, print_figures
from tests.made import write_records

SEEDS, EPOCHS, OFTEN_UP_TO = 10, 16, 10_000
COMPARED = ("import torch", "doctor")


def made(number: int) -> Record:
    cell, seed = divmod(number, SEEDS)
    return full_record(
        seed, epochs=EPOCHS, architecture=f"net{cell // 100}",
        optimizer=f"optimizer{cell // 10 % 10}", augmentation=f"policy{cell % 10}",
    )  # fmt: skip


def fill(root: Path, sizes: list[int]) -> list[Path]:
    """A group of each size."""
    return [
        write_records(root / f"made-{size}_shapes_cpu", map(made, range(size))) for size in sizes
    ]


def process(command: list[str]) -> tuple[float, float, float]:
    """Seconds of a whole process, its seconds of CPU, and its peak memory in MiB."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    kib = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return wall_s, used.ru_utime + used.ru_stime, kib / 1024


def main(repeats: int = 5, largest: int = 10_000) -> None:
    before = conditions()
    sizes = [size for size in (10, 100, 1_000, 10_000, 100_000) if size <= largest]
    bench = [sys.executable, "-m", "bench"]
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        tables = dict(zip(sizes, fill(Path(name), sizes), strict=True))
        for number in range(repeats):
            found["python -c pass"].append(process([sys.executable, "-c", "pass"]))
            found["import torch"].append(process([sys.executable, "-c", "import torch"]))
            found["--help"].append(process([*bench, "--help"]))
            found["doctor"].append(process([*bench, "doctor"]))
            for size, folder in tables.items():
                if size <= OFTEN_UP_TO or not number:
                    command = [*bench, "table", str(folder), "--format", "md"]
                    found[f"table, {size} records"].append(process(command))
    figures: dict[str, dict[str, Any]] = {
        label: {
            "wall_s": [round(wall_s, 3) for wall_s, _, _ in times],
            "cpu_s": [round(cpu_s, 3) for _, cpu_s, _ in times],
            "peak_mib": round(max(mib for _, _, mib in times)),
        }
        for label, times in found.items()
    }
    ratios = {}
    for clock in ("wall_s", "cpu_s"):
        torch_s, doctor_s = (statistics.median(figures[label][clock]) for label in COMPARED)
        ratios[clock] = round(doctor_s / torch_s, 2)
    print_figures(before, {**figures, "doctor_over_torch": ratios})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
