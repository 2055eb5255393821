"""Steps as CUDA graphs: they are taken, and train as launched ones do.

On another device than CUDA a tape stands in for the graph.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import optimizers
from bench.cell import Cell, Run
from bench.job import Job, RecordBuilder
from bench.record import GRAPH, Record
from bench.training import ceiling
from bench.training.run import train
from bench.training.setup import Shared
from pipelines.sources import default_data_dir
from tests.gpu.device import DEVICE, on_the_device
from tests.tape import capture as tape

pytestmark = on_the_device

CAPTURABLE = [name for name, entry in optimizers.catalog.entries.items() if entry.capturable]
SHARED = Shared()  # so that each net is compiled once
CELLS = {
    **{name: {"optimizer": name} for name in CAPTURABLE},
    "kornia": {"pipeline": "kornia"},
    "freezing": {"architecture": "airnet94", "optimizer": "muon_sgd"},
    "mixing": {"augmentation": "cutmix"},
}


def trained(folder: Path, **changes: Any) -> Record:
    fixed = {"architecture": "cnn4", "optimizer": "sgd", "augmentation": "alternating_flip_crop"}
    cell = Cell(
        **(fixed | {"pipeline": "native[eager]"} | changes),
        source="shapes",
        scale="cpu",
        device=DEVICE,
        epochs=3,
        batch_size=64,
        width=0.25,
        train_images=640,
        validation_images=200,
        test_images=500,
        compile=DEVICE == "cuda",
    )
    job = Job(run=Run(cell=cell, seed=0), folder=str(folder), data_dir=str(default_data_dir()))
    draft = RecordBuilder(job=job)
    train(draft, SHARED, lambda point: None)
    return draft.record("ok")


def taped(draft: RecordBuilder, parts: object) -> Any:
    draft.stepping = GRAPH
    return tape


@pytest.mark.parametrize("name", CELLS)
def test_replayed_steps_train_as_launched_ones_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if DEVICE != "cuda":
        monkeypatch.setattr(ceiling, "capture_for", taped)
    found = trained(tmp_path / "replayed", **CELLS[name])
    assert found.stepping == GRAPH, found.stepping
    assert not [text for text in found.timing_suspect if "launched" in text]
    assert found.timings.capture_s > 0
    monkeypatch.setattr(ceiling, "capture_for", lambda draft, parts: None)
    wanted = trained(tmp_path / "launched", **CELLS[name])
    losses = [torch.tensor([p.train_loss for p in one.curve]) for one in (found, wanted)]
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.0)
    assert found.curve[-1].learning_rate == wanted.curve[-1].learning_rate
