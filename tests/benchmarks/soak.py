"""A long grid of short runs: do memory, open files and time to write stay the same?

    python -m tests.benchmarks.soak [RUNS]

`bench run` of one tiny cell on generated images with 2,000 seeds by default, in this process. The
time of each write to the store is noted, and every fifty runs the memory and open files of this
process and of the worker. Growth is from the hundredth run to the last. Linux only.
"""

import os
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import psutil

from bench.cli import app
from bench.executors.local import Worker
from bench.record import Record
from bench.store.store import Store
from tests.benchmarks.common import conditions, print_figures

WARM, EVERY, EDGE = 100, 50, 100
CELL = ("--grid", "smoke", "-k", "cnn2 and native", "--pipeline", "native[eager]", "--source",
        "shapes", "--augmentation", "none", "--no-compile", "--quiet")  # fmt: skip


class Watch:
    def __init__(self) -> None:
        self.write_ms: list[float] = []
        self.seen: list[dict[str, Any]] = []
        self.workers: list[int] = []
        self.statuses: set[str] = set()

    def install(self) -> None:
        """Wraps the store's writes and the start of workers."""
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
        found: dict[str, Any] = {"runs": len(self.write_ms)}
        for name, pid in (("parent", os.getpid()), ("worker", self.workers[-1])):
            process = psutil.Process(pid)
            found[f"{name}_mib"] = process.memory_info().rss / 2**20
            found[f"{name}_files"] = process.num_fds()
        self.seen.append(found)


def main(runs: int = 2000) -> None:
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
            name: round(100 * (last[name] / warm[name] - 1), 2)
            for name in ("parent_mib", "worker_mib")
        },
        "files_more": {name: last[name] - warm[name] for name in ("parent_files", "worker_files")},
        "write_ms_median": {
            "first": round(statistics.median(watch.write_ms[:EDGE]), 3),
            "last": round(statistics.median(watch.write_ms[-EDGE:]), 3),
        },
        "seen": watch.seen,
    }
    print_figures(before, figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
