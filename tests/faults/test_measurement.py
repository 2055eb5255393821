"""A measurement that went wrong is said: in the record, in the table, in the report.

Each fault is provoked in a run from top to bottom. What a GPU does (throttling, other processes
on it) is answered by a made NVML in `tests/test_gpu_state.py`; graphs compiled inside the clock are
provoked in `tests/test_run.py`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from bench.cell import Run
from bench.job import Job, RecordBuilder
from bench.record import Conditions, Record
from bench.report.conclusions import conclude, markdown
from bench.report.matrix import build
from bench.report.table import render
from bench.training import cuda_graph
from bench.training.loop import Step
from bench.training.run import train
from bench.training.setup import Shared
from bench.training.timing_checks import disturbances
from pipelines import sources
from pipelines.base import Batch
from tests.made import made_record
from tests.training.test_run import CELL


def run(folder: Path, epochs: int) -> Record:
    job = Job(
        run=Run(cell=replace(CELL, epochs=epochs), seed=0),
        folder=str(folder),
        data_dir=str(sources.default_data_dir()),
    )
    draft = RecordBuilder(job=job)
    train(draft, Shared(), lambda point: None)
    return draft.record("ok")


def told(record: Record) -> tuple[str, str]:
    """The table and the conclusions beside a run that nothing disturbed."""
    other = replace(made_record(architecture="cnn4"), cell=replace(record.cell, optimizer="adamw"))
    records = [record, replace(other, environment=record.environment)]
    return render(build(records), "md"), markdown(conclude(records))


def epochs_that_take(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
    """The clock runs over so many seconds in each epoch, whatever else the machine does."""
    epochs = count()

    def wait(step: Step, batches: Iterator[Batch], device: torch.device) -> torch.Tensor:
        time.sleep(seconds(next(epochs)))
        return torch.zeros(())

    monkeypatch.setattr(cuda_graph, "train_epoch", wait)


def test_a_first_epoch_far_slower_than_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs_that_take(monkeypatch, lambda epoch: 1.5 if epoch == 0 else 0.1)
    record = run(tmp_path, epochs=6)
    (reason,) = [text for text in record.timing_suspect if text.startswith("the first epoch took")]
    table, conclusions = told(record)
    assert reason in table
    assert "One cell has suspect timings" in table
    assert "Suspect timings" in conclusions
    assert record.name in conclusions


@pytest.mark.slow
def test_throughput_that_drifts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs_that_take(monkeypatch, lambda epoch: 0.1 + 0.04 * epoch)
    record = run(tmp_path, epochs=9)
    (reason,) = [text for text in record.timing_suspect if text.startswith("epochs became")]
    assert "longer from the second to the last" in reason
    assert reason in told(record)[0]


@contextmanager
def busy_neighbours() -> Iterator[None]:
    """Twice as many busy processes as there are cores, each like a run's worker."""
    busy = (
        "from bench.machine.cpu import run_in_progress\n"
        "with run_in_progress():\n    while True: pass"
    )
    command = [sys.executable, "-c", busy]
    number = 2 * len(os.sched_getaffinity(0))
    others = [subprocess.Popen(command, start_new_session=True) for _ in range(number)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
def test_other_processes_on_the_cpu(tmp_path: Path) -> None:
    with busy_neighbours():
        record = run(tmp_path, epochs=3)
    found = record.conditions
    assert found.cpu_others_pct is not None
    assert found.cpu_idle_pct is not None
    assert found.cpu_others_pct > 10.0
    (reason,) = [text for text in record.timing_suspect if text.startswith("other processes used")]
    assert reason in told(record)[0]
    assert (found.neighbours or 0) >= 2 * len(os.sched_getaffinity(0))
    (reason,) = [text for text in record.timing_suspect if "other runs were active" in text]
    assert reason in told(record)[0]


def test_throttling_and_other_processes_on_the_gpu_reach_the_reader() -> None:
    conditions = Conditions(hot_s=1.5, slowed=("heat",), gpu_others=1)
    reasons = tuple(disturbances(conditions))
    record = made_record(record={"conditions": conditions, "timing_suspect": reasons})
    table, conclusions = told(record)
    assert "the GPU was throttled (for 1.5 s, heat)" in table
    assert "1 other process was on the GPU" in table
    assert "Suspect timings" in conclusions


@pytest.mark.parametrize(("seeds", "said"), [(1, "each cell has one seed"), (5, "")])
def test_few_seeds(seeds: int, said: str) -> None:
    records = [
        made_record(seed, architecture=net) for net in ("cnn4", "vit_tiny") for seed in range(seeds)
    ]
    table = render(build(records), "md")
    conclusions = markdown(conclude(records))
    assert ("Too few seeds" in table) == (seeds < 5)
    assert said in table
    assert ("2 of 2 cells have one seed" in conclusions) == (seeds == 1)


def test_mixed_machines_and_versions() -> None:
    here = {"cpu": "AMD EPYC", "gpu": None, "torch": "2.14.1", "cores": 2}
    there = {"cpu": "AMD EPYC", "gpu": "NVIDIA H100", "torch": "2.11.0", "cores": 16}
    records = [
        made_record(architecture="cnn4", record={"environment": here}),
        made_record(architecture="vit_tiny", record={"environment": there}),
    ]
    table = render(build(records), "md")
    assert "Rows come from 2 machines" in table
    for word in ("AMD EPYC, 2 cores", "NVIDIA H100", "torch 2.14.1", "torch 2.11.0"):
        assert word in table
