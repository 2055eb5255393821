"""Steps are replayed as CUDA graphs and train like launched steps.

On a CPU a tape replaces the graph.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import optimizers
from bench.job import RecordBuilder
from bench.record import GRAPH, Record
from bench.training import ceiling
from bench.training.setup import Shared
from tests.gpu.device import DEVICE, on_the_device
from tests.tape import capture as tape
from tests.training.test_run import CELL, run

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
    cell = replace(
        CELL, architecture="cnn4", augmentation="alternating_flip_crop", pipeline="native[eager]",
        device=DEVICE, epochs=3, batch_size=64, train_images=640, compile=DEVICE == "cuda",
    )  # fmt: skip
    return run(replace(cell, **changes), folder, shared=SHARED)


def taped(draft: RecordBuilder, parts: object) -> Any:
    draft.stepping = GRAPH
    return tape


@pytest.mark.parametrize("name", CELLS)
def test_replays_train_alike(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE != "cuda":
        monkeypatch.setattr(ceiling, "capture_for", taped)
    found = trained(tmp_path / "replayed", **CELLS[name])
    assert found.stepping == GRAPH, found.stepping
    assert not [text for text in found.timing_suspect if "launched" in text]
    assert found.timings.capture_s > 0
    monkeypatch.setattr(ceiling, "capture_for", lambda draft, parts: None)
    wanted = trained(tmp_path / "launched", **CELLS[name])
    losses = [torch.tensor([p.train_loss for p in record.curve]) for record in (found, wanted)]
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.0)
    assert found.curve[-1].learning_rate == wanted.curve[-1].learning_rate
