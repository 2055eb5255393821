"""Seconds of `bench --help` and of `bench table` against the number of records.

    python tests/benchmarks/start_up.py [REPEATS] [LARGEST]

Made records of sixteen epochs and ten classes, ten seeds a cell, all of one size: 10, 100, ... up
to LARGEST (10,000 unless said). Whole processes, each command in turn, REPEATS rounds (5 unless
said) but one only of more than 10,000 records; a bare `python -c pass` is measured beside them.
Prints JSON: wall seconds; seconds of CPU, which other work on the machine disturbs less; the peak
memory (never below that of this process); and what each record more costs from one size to the
next, the same for all if the growth is linear. Linux and macOS only.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.record import (
    PerClass,
    Record,
)
from bench.store.codec import encode
from tests.benchmarks.side_by_side import conditions
from tests.made import (
    made_metrics,
    made_record,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SEEDS, EPOCHS, CLASSES, OFTEN_UP_TO = 10, 16, 10, 10_000
SCORES = tuple(
    PerClass(name=f"class{number}", precision=0.7, recall=0.7, f1=0.7, support=1000)
    for number in range(CLASSES)
)
CONFUSION = tuple(tuple(700 if a == b else 33 for b in range(CLASSES)) for a in range(CLASSES))


def made(number: int) -> Record:
    """The record with that number: its seed, then its cell."""
    cell, seed = divmod(number, SEEDS)
    metrics = replace(made_metrics(0.7, 3.0), per_class=SCORES, confusion=CONFUSION)
    return made_record(
        seed,
        record={"metrics": metrics},
        epochs=EPOCHS,
        architecture=f"net{cell // 100}",
        optimizer=f"optimizer{cell // 10 % 10}",
        augmentation=f"policy{cell % 10}",
    )


def fill(root: Path, sizes: list[int]) -> list[Path]:
    """A group folder of each size; the smaller ones hold the first records of the largest."""
    folders = [root / f"made-{size}_shapes_cpu" / "records" for size in sizes]
    for folder in folders:
        folder.mkdir(parents=True)
    for number in range(max(sizes)):
        record = made(number)
        first, *others = (f for f, size in zip(folders, sizes, strict=True) if number < size)
        path = first / f"{record.run_id}.json"
        path.write_bytes(encode(record))
        for folder in others:
            (folder / path.name).hardlink_to(path)
    return [folder.parent for folder in folders]


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


def growth(cpu_s: dict[int, float]) -> Iterator[dict[str, float]]:
    """What a record more costs, from each size to the next."""
    for (few, few_s), (many, many_s) in pairwise(sorted(cpu_s.items())):
        yield {"from": few, "to": many, "cpu_us": round(1e6 * (many_s - few_s) / (many - few), 1)}


def main(repeats: int = 5, largest: int = 10_000) -> None:
    """Measures and prints."""
    before = conditions()
    sizes = [size for size in (10, 100, 1_000, 10_000, 100_000) if size <= largest]
    bench = [sys.executable, "-m", "bench"]
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        tables = dict(zip(sizes, fill(Path(name), sizes), strict=True))
        for number in range(repeats):
            found["python -c pass"].append(process([sys.executable, "-c", "pass"]))
            found["--help"].append(process([*bench, "--help"]))
            for size, folder in tables.items():
                if size <= OFTEN_UP_TO or not number:
                    command = [*bench, "table", str(folder), "--format", "md"]
                    found[f"table, {size} records"].append(process(command))
    figures = {
        label: {
            "wall_s": [round(wall_s, 3) for wall_s, _, _ in times],
            "cpu_s": [round(cpu_s, 3) for _, cpu_s, _ in times],
            "peak_mib": round(max(mib for _, _, mib in times)),
        }
        for label, times in found.items()
    }
    cpu_s = {size: median(cpu for _, cpu, _ in found[f"table, {size} records"]) for size in sizes}
    told = {"conditions": before, "figures": figures, "cpu_us_a_record_more": [*growth(cpu_s)]}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
