"""Whole runs of every net and every optimizer on fake CUDA."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

import architectures
from bench import optimizers
from bench.cell import EVAL_VIEWS, Cell
from bench.job import RecordBuilder
from bench.record import GRAPH, LAUNCHED
from bench.training import cuda_graph
from bench.training.loop import predict
from bench.training.run import train
from bench.training.setup import Shared, prepare
from tests.fake_cuda.device import CUDA, FakeCuda, fake_cuda
from tests.training.test_run import builder

CELL = Cell(
    architecture="cnn4",
    optimizer="sgd",
    augmentation="flip_crop",
    pipeline="native[eager]",
    source="shapes",
    scale="full",
    device="cuda",
    epochs=2,
    batch_size=64,
    precision="bf16",
    compile=True,
    train_images=128,
    validation_images=50,
    test_images=50,
)


@dataclass(kw_only=True)
class Captures:
    """Stands in for `CudaCapture`: does the work, and keeps what a captured step costs.

    Args:
        waits: Waits inside a captured step, which a real capture refuses.
        launches: Launches of each captured step.
    """

    device: FakeCuda
    waits: list[str] = field(default_factory=list)
    launches: list[int] = field(default_factory=list)

    def __call__(
        self, work: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> "Captures":
        for _ in range(cuda_graph.WARM_STEPS):
            work()
        waited, launches = self._waits(), self.device.launches.total()
        work()
        self.waits += self._waits() - waited
        self.launches.append(self.device.launches.total() - launches)
        return self

    def _waits(self) -> Counter[str]:
        return self.device.waits + self.device.staged

    def replay(self) -> None:
        """A replay needs no Python."""


@dataclass(frozen=True, kw_only=True)
class Result:
    draft: RecordBuilder
    device: FakeCuda
    captures: Captures


def trained(cell: Cell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    draft = builder(cell, folder)
    with fake_cuda(monkeypatch) as device:
        captures = Captures(device=device)
        monkeypatch.setattr(cuda_graph, "CudaCapture", lambda device: captures)
        train(draft, Shared(compiler_started=True), lambda point: None)
    return Result(draft=draft, device=device, captures=captures)


# Operations of a captured step on one cached batch, before the compiler fuses them. A number that
# grows is a step that became slower; one that falls is to be entered here.
LAUNCHES = {
    "adam": 94, "adamw": 94, "muon": 157, "muon_sgd": 144, "sam": 208, "sgd": 92,
}  # fmt: skip
NET_LAUNCHES = {
    "airnet94": 110, "airnet96": 146, "convmixer": 253, "convnext_tiny": 799, "densenet121": 1738,
    "efficientnet_b0": 942, "mlp_mixer_s4": 523, "mobilenetv2": 539, "cnn2": 72, "cnn4": 92,
    "cnn6": 110, "cnn8": 130, "preact_resnet18": 231, "wrn16_8": 191, "wrn28_10": 311, "wrn40_4":
    431, "regnetx_200mf": 464, "resnet18": 240, "resnet34": 400, "resnet50": 551,
    "resnext29_2x64d": 341, "resnet20": 247, "resnet56": 607, "resnet9": 128, "shufflenetv2": 609,
    "vgg11_bn": 148, "vgg16_bn": 203, "vit_tiny": 1069,
}  # fmt: skip


def check(result: Result, launches: int | None) -> None:
    """No wait in a captured step, no mixed devices, and no more launches than before."""
    assert not result.device.mixed
    assert not result.captures.waits
    if launches is None:
        assert result.draft.stepping.startswith(LAUNCHED)
    else:
        assert result.draft.stepping == GRAPH
        assert result.captures.launches[0] <= launches


@pytest.mark.parametrize("name", optimizers.catalog.entries)
def test_an_optimizer_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = trained(replace(CELL, optimizer=name), tmp_path, monkeypatch)
    check(result, LAUNCHES.get(name))


@pytest.mark.parametrize("pipeline", ["kornia", "torchvision_batch"])
def test_a_pipeline_feeds_a_captured_step(
    pipeline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = trained(replace(CELL, pipeline=pipeline), tmp_path, monkeypatch)
    check(result, LAUNCHES["sgd"])


@pytest.mark.slow
@pytest.mark.parametrize("name", architectures.catalog.entries)
def test_a_net_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = trained(replace(CELL, architecture=name), tmp_path, monkeypatch)
    check(result, NET_LAUNCHES[name])


@pytest.mark.parametrize("eval_views", EVAL_VIEWS)
def test_predictions_wait_for_nothing(
    eval_views: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda(monkeypatch) as device:
        shared = Shared(compiler_started=True)
        with closing(prepare(builder(CELL, tmp_path), shared, CUDA)) as parts:
            device.clear()
            predict(parts.net.forward, parts.test, parts.autocast, eval_views=eval_views)
    assert not device.faults
