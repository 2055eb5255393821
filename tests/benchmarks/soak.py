"""A long grid of short runs: does the parent keep its memory, its files and its speed?

    python tests/benchmarks/soak.py [RUNS]

`bench run` with 2,000 seeds unless said of one tiny cell on generated images, into a temporary
folder, in this process; its worker is a process of its own, as always. At each record the time that
the store took is noted, and at each fiftieth the memory and open files of both. Prints JSON; the
growth is that from the hundredth run to the last. Linux only.
"""

import os
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from bench.cli import app
from bench.executors.local import Worker
from bench.record import Record
from bench.store.store import Store
from tests.benchmarks.side_by_side import (
    conditions,
    told,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WARM, EVERY, EDGE = 100, 50, 100
CELL = ("--grid", "smoke", "-k", "cnn2 and native", "--pipeline", "native[eager]", "--source",
        "shapes", "--augmentation", "none", "--no-compile", "--quiet")  # fmt: skip


class Watch:
    """What was seen at each record."""

    def __init__(self) -> None:
        self.write_ms: list[float] = []
        self.seen: list[dict[str, Any]] = []
        self.workers: list[int] = []
        self.statuses: set[str] = set()

    def install(self) -> None:
        """Stands around the store's writes and the start of workers."""
        write, start = Store.write, Worker.start

        def watched(store: Store, record: Record) -> Record:
            began = time.perf_counter()
            kept = write(store, record)
            self.write_ms.append(1000 * (time.perf_counter() - began))
            self.statuses.add(record.status)
            if len(self.write_ms) % EVERY == 0:
                self.look()
            return kept

        def started(*arguments: Any, **options: Any) -> Worker:
            worker = start(*arguments, **options)
            self.workers.append(worker.process.pid)
            return worker

        Store.write = watched  # type: ignore[method-assign]
        Worker.start = started  # type: ignore[method-assign, assignment]

    def look(self) -> None:
        """Notes memory and open files of this process and of the present worker."""
        worker = self.workers[-1]
        self.seen.append(
            {
                "runs": len(self.write_ms),
                "parent_mib": resident_mib(os.getpid()),
                "parent_files": open_files(os.getpid()),
                "worker_mib": resident_mib(worker),
                "worker_files": open_files(worker),
            }
        )


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def open_files(pid: int) -> int:
    """File descriptors that a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def growth_pct(first: float, last: float) -> float:
    """From the first to the last."""
    return round(100 * (last / first - 1), 2)


def main(runs: int = 2000) -> None:
    """Runs and prints."""
    before = conditions()
    watch = Watch()
    watch.install()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        code = app.app(["run", *CELL, "--seeds", str(runs), "--out", folder], standalone_mode=False)
        records = len(list(Path(folder).glob("*/records/*.json")))
    warm = next(seen for seen in watch.seen if seen["runs"] >= WARM)
    last = watch.seen[-1]
    figures = {
        "runs": runs,
        "records": records,
        "statuses": sorted(watch.statuses),
        "exit_code": code,
        "workers": len(watch.workers),
        "seconds": round(time.perf_counter() - began, 1),
        "growth_pct": {
            name: growth_pct(warm[name], last[name]) for name in ("parent_mib", "worker_mib")
        },
        "files_more": {name: last[name] - warm[name] for name in ("parent_files", "worker_files")},
        "write_ms_median": {
            "first": round(statistics.median(watch.write_ms[:EDGE]), 3),
            "last": round(statistics.median(watch.write_ms[-EDGE:]), 3),
        },
        "seen": watch.seen,
    }
    told(before, figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
