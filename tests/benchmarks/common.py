"""What the benchmarks share; each prints its figures as JSON."""

import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import bootstrap, t

from bench.cell import Cell, Run
from bench.executors.protocol import ENVIRONMENT
from bench.job import Job, RecordBuilder
from bench.machine.environment import cpu_model
from bench.process import usable_cores
from bench.record import PerClass, Record
from tests.made import made_metrics, made_record

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def conditions() -> dict[str, object]:
    """Machine, date and present load; to be called before anything is measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "load_before": [round(load, 1) for load in os.getloadavg()],
    }


def print_figures(before: Mapping[str, object], figures: Mapping[str, object]) -> None:
    print(json.dumps({"conditions": before, "figures": figures}, indent=1))


def median_ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The median ratio of pairs of seconds, with its 95 % bootstrap interval."""
    ratios = np.asarray(above) / np.asarray(below)
    found = bootstrap(
        (ratios,), np.median, method="percentile", n_resamples=2000, rng=np.random.default_rng(0)
    )
    interval = found.confidence_interval
    return {
        "ratio": round(float(np.median(ratios)), 4),
        "low_95": round(float(interval.low), 4),
        "high_95": round(float(interval.high), 4),
    }


def restart_as_worker() -> None:
    """Starts this program again if settings of a worker's environment are missing."""
    missing = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)


def prepared(run: Run) -> tuple[RecordBuilder, Any]:
    """A record builder, and what a run trains with on the CPU (`bench.training.setup.Parts`)."""
    import torch

    from bench.training.setup import Shared, prepare
    from pipelines import sources

    job = Job(run=run, folder="", data_dir=str(sources.default_data_dir()))
    builder = RecordBuilder(job=job)
    return builder, prepare(builder, Shared(), torch.device("cpu"))


def accuracy_pct(cell: Cell, seed: int) -> float:
    """Trains a run; its accuracy on the test set."""
    from bench.machine.cpu import training_threads
    from bench.training.run import train
    from bench.training.setup import Shared
    from pipelines import sources

    with TemporaryDirectory() as folder, training_threads(cell):
        data_dir = str(sources.default_data_dir())
        draft = RecordBuilder(
            job=Job(run=Run(cell=cell, seed=seed), folder=folder, data_dir=data_dir)
        )
        train(draft, Shared(), lambda point: None)
    assert draft.metrics is not None
    return 100 * draft.metrics.accuracy


def paired_gain(new: Sequence[float], old: Sequence[float]) -> dict[str, float]:
    """The mean difference of pairs, with its 95 % t interval."""
    gains = [a - b for a, b in zip(new, old, strict=True)]
    half = t.ppf(0.975, len(gains) - 1) * stdev(gains) / len(gains) ** 0.5
    return {
        "points": round(fmean(gains), 2),
        "low_95": round(fmean(gains) - half, 2),
        "high_95": round(fmean(gains) + half, 2),
    }


Ask = Callable[[str], Any]


@contextmanager
def side(name: str, *arguments: str, settings: Mapping[str, str]) -> Iterator[Ask]:
    """One side of a benchmark as a process that sleeps until it is asked to do something."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.benchmarks.{name}", *arguments],
        cwd=ROOT, env={**os.environ, **settings},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def ask(question: str) -> Any:
        assert process.stdin is not None
        print(question, file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def serve(answer: Ask) -> None:
    """Answers each line of standard input with a line of JSON."""
    for line in sys.stdin:
        print(json.dumps(answer(line.strip())), flush=True)


def full_record(seed: int, *, record: Mapping[str, Any] | None = None, **cell: Any) -> Record:
    """A made record as large as a real one: ten classes, with random scores."""
    chance = random.Random(f"{sorted(cell.items())}{seed}")
    accuracy, images_per_s = chance.uniform(0.5, 0.95), chance.uniform(500.0, 1900.0)
    per_class = tuple(
        PerClass(
            name=name, precision=chance.random(), recall=chance.random(), f1=chance.random(),
            support=1000,
        )
        for name in CLASSES
    )  # fmt: skip
    metrics = replace(
        made_metrics(accuracy, chance.uniform(2.0, 15.0)),
        confusion=tuple(tuple(chance.randint(0, 1000) for _ in CLASSES) for _ in CLASSES),
        per_class=per_class,
    )
    fields = {"metrics": metrics, **(record or {})}
    return made_record(seed, accuracy=accuracy, images_per_s=images_per_s, record=fields, **cell)
