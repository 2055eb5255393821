"""Profiles: a trace for Chrome with steps and data; a failure does not fail the run."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.store.store import Store
from bench.training.cuda_graph import Trainer, capture_step
from bench.training.profiler import (
    STEPS,
    WARM_STEPS,
    keep_profile,
    profile_steps,
    trace_name,
    traces_summary,
)
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Pipeline, Request, Semantics
from pipelines.verification.made_images import made
from tests.made import made_run
from tests.made_optimizers import made_step
from tests.tape import capture as tape  # a stand-in for CUDA graphs


class Counted(Pipeline):
    """Two batches per epoch; records the requested epochs."""

    def __init__(self, *, broken: bool = False) -> None:
        images = made(np.zeros((8, 4, 4, 3), np.uint8))
        policy, device = Augmentation(ops=()), torch.device("cpu")
        request = Request(images=images, augmentation=policy, batch_size=4, device=device)
        super().__init__(request, Semantics(draws={}))
        self.epochs: list[int] = []
        self.ended = 0
        self.broken = broken

    def epoch(self, index: int) -> Iterator[Batch]:
        if self.broken:
            raise RuntimeError("no more images")
        self.epochs.append(index)
        try:
            for _ in range(self.steps_per_epoch):
                yield torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
        finally:
            self.ended += 1


class Repeated:
    """A cursor that always gives the same batch."""

    generators = ()

    def prepare(self, index: int) -> None: ...

    def begin(self, index: int) -> None: ...

    def next(self) -> Batch:
        return torch.ones(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])


def trainer() -> Trainer:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    return Trainer(step=made_step(net, "sgd", steps=STEPS))


def test_the_trace_has_steps_and_data_but_no_warm_up() -> None:
    pipeline = Counted()
    found = profile_steps(trainer(), pipeline, 7)
    events = json.loads(gzip.decompress(found.trace))["traceEvents"]
    names = [event.get("name") for event in events if event.get("cat") == "user_annotation"]
    assert names.count("data") == names.count("step") == STEPS
    assert any(event.get("name") == "aten::addmm" for event in events)
    assert "aten::addmm" in found.table
    assert len(found.table.splitlines()) < 60
    needed = -(-(WARM_STEPS + STEPS) // pipeline.steps_per_epoch)
    assert pipeline.epochs == [7] * needed
    assert pipeline.ended == needed  # so that workers of the last epoch rest


@pytest.mark.parametrize("makes_batches", [False, True])
def test_replays_are_profiled_as_such(makes_batches: bool, tmp_path: Path) -> None:
    pipeline, step = Counted(), trainer().step
    source = Repeated() if makes_batches else next(pipeline.epoch(0))
    captured = capture_step(step, source, tape, lambda: None, [0])
    store, run = Store(tmp_path), made_run()
    keep_profile(store, run.id, run.name, Trainer(step=step, captured=captured), pipeline, 7)
    table = (tmp_path / "profiles" / f"{run.id}.txt").read_text()
    assert table.startswith(f"{run.name}: {STEPS} replayed training steps of 4 images\n")
    events = json.loads(gzip.decompress((tmp_path / trace_name(run.id)).read_bytes()))
    names = [event.get("name") for event in events["traceEvents"]]
    assert names.count("step") == STEPS
    assert ("data" in names) == (not makes_batches)


def test_trace_and_table_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run = Store(tmp_path), made_run()
    keep_profile(store, run.id, run.name, trainer(), Counted(), 0)
    trace = tmp_path / "profiles" / f"{run.id}.json.gz"
    assert str(trace) in capsys.readouterr().out
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    table = (tmp_path / "profiles" / f"{run.id}.txt").read_text()
    assert table.startswith(f"{run.name}: {STEPS} launched training steps of 4 images\n")
    summary = traces_summary(tmp_path, [run])
    assert summary.startswith("traces of 1 of 1 runs")
    assert "logs" not in summary
    assert traces_summary(tmp_path, []).startswith("no traces")


def test_a_failed_profile_fails_no_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store, run = Store(tmp_path), made_run()
    keep_profile(store, run.id, run.name, trainer(), Counted(broken=True), 0)
    output = capfd.readouterr()
    assert "no profile" in output.out
    assert "no more images" in output.err
    assert not (tmp_path / trace_name(run.id)).exists()
    assert "the logs of the others say why" in traces_summary(tmp_path, [run])
