"""Seconds of `bench --help` and of `bench table` against the number of records.

    python tests/benchmarks/start_up.py [REPEATS]

Whole processes, each command in turn, REPEATS rounds (5 unless said); prints JSON with the median,
minimum and maximum of each. A bare `python -c pass` is measured beside them.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.record import encode  # noqa: E402
from tests.made import made_record  # noqa: E402

SIZES = (10, 100, 1_000, 10_000)


def fill(folder: Path, count: int) -> Path:
    """A results folder with `count` records of as many cells and seeds."""
    records = folder / f"made-{count}_shapes_cpu" / "records"
    records.mkdir(parents=True)
    for number in range(count):
        record = made_record(number % 10, epochs=4 + number // 10)
        (records / f"{record.run_id}.json").write_bytes(encode(record))
    return records.parent


def seconds(command: list[str]) -> float:
    """One whole process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    python = [sys.executable, "-m", "bench"]
    with tempfile.TemporaryDirectory() as name:
        commands = {"python -c pass": [sys.executable, "-c", "pass"], "--help": [*python, "--help"]}
        for size in SIZES:
            folder = fill(Path(name), size)
            commands[f"table, {size} records"] = [*python, "table", str(folder), "--format", "md"]
        times: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(repeats):
            for label, command in commands.items():
                times[label].append(seconds(command))
    figures = {
        label: {
            "median_s": round(statistics.median(found), 3),
            "min_s": round(min(found), 3),
            "max_s": round(max(found), 3),
        }
        for label, found in times.items()
    }
    machine = {"python": platform.python_version(), "processor": platform.machine()}
    print(json.dumps({"machine": machine, "repeats": repeats, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
