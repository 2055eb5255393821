"""Disturbed measurements are marked in the record, the table and the conclusions.

Each disturbance is caused in a run from top to bottom. Those of a GPU are tested with a fake NVML
in `tests/machine/test_gpu.py`.
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
from bench.record import Record
from bench.report.conclusions import conclude, markdown
from bench.report.matrix import build
from bench.report.table import render
from bench.training import cuda_graph
from bench.training.loop import Step
from bench.training.run import train
from bench.training.setup import Shared
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
    builder = RecordBuilder(job=job)
    train(builder, Shared(), lambda point: None)
    return builder.record("ok")


def shown(record: Record) -> tuple[str, str]:
    """The table and the conclusions of it and an undisturbed run."""
    other = replace(made_record(architecture="cnn4"), cell=replace(record.cell, optimizer="adamw"))
    records = [record, replace(other, environment=record.environment)]
    return render(build(records), "md"), markdown(conclude(records))


def epochs_that_take(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
    """Makes each epoch take so many seconds."""
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
    table, conclusions = shown(record)
    assert reason in table
    assert "1 of 2 runs has suspect timings" in table
    assert "Suspect timings" in conclusions
    assert record.name in conclusions


@contextmanager
def busy_neighbours() -> Iterator[None]:
    """Runs twice as many busy workers as there are cores."""
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
    assert reason in shown(record)[0]
    assert (found.neighbours or 0) >= 2 * len(os.sched_getaffinity(0))
    (reason,) = [text for text in record.timing_suspect if "other runs were active" in text]
    assert reason in shown(record)[0]


def test_few_seeds_and_mixed_machines_are_noted_beside_the_table() -> None:
    here = {"cpu": "AMD EPYC", "gpu": None, "torch": "2.14.1", "cores": 2}
    there = {"cpu": "AMD EPYC", "gpu": "NVIDIA H100", "torch": "2.11.0", "cores": 16}
    records = [
        made_record(seed, architecture=net, record={"environment": environment})
        for net, environment in (("cnn4", here), ("vit_tiny", there))
        for seed in range(5)
    ]
    table = render(build(records), "md")
    assert "Too few seeds" not in table
    assert "Rows come from 2 machines" in table
    for word in ("AMD EPYC, 2 cores", "NVIDIA H100", "torch 2.14.1", "torch 2.11.0"):
        assert word in table
    table = render(build([records[0], records[5]]), "md")
    assert "Too few seeds" in table
    assert "each cell has one seed" in table
