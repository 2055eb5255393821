"""The hot loops. Nothing in them waits for the device, prints, or reads a value back."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bench.clock import synchronize
from pipelines.base import Batch, Pipeline

Autocast = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step: forward, backward, update.

    Args:
        model: Images (B, C, H, W) to logits (B, classes); perhaps compiled.
        optimizer: Steps once a call.
        schedule: Likewise.
        autocast: Makes the mixed-precision context of the forward pass.
        label_smoothing: Of the cross-entropy loss.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    autocast: Autocast
    label_smoothing: float

    def __call__(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """The batch's mean loss, detached, still on the device."""
        with self.autocast():
            logits_BK = self.model(images_BCHW)
            loss = F.cross_entropy(logits_BK, labels, label_smoothing=self.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return loss.detach()


def train_epoch(step: Step, batches: Iterable[Batch], device: torch.device) -> Tensor:
    """Runs `step` on every batch; the sum of the losses, a scalar on the device."""
    loss_sum = torch.zeros((), device=device)
    for images_BCHW, labels in batches:
        loss_sum += step(images_BCHW, labels)
    return loss_sum


def cached_step_s(step: Step, batch: Batch, device: torch.device, *, steps: int) -> list[float]:
    """Seconds of each of `steps` training steps on one batch that is on the device already.

    The ceiling: what the model could do if data cost nothing. Device-wide waits stand between the
    steps on a CPU only, where they cost nothing; on a GPU the steps are timed together.
    """
    if device.type != "cuda":
        return [_timed(step, batch) for _ in range(steps)]
    synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step(*batch)
    synchronize(device)
    return [(time.perf_counter() - start) / steps] * steps


def _timed(step: Step, batch: Batch) -> float:
    start = time.perf_counter()
    step(*batch)
    return time.perf_counter() - start


@torch.no_grad()
def predict(model: nn.Module, pipeline: Pipeline, autocast: Autocast) -> tuple[Tensor, Tensor]:
    """Logits float32 (N, classes) and labels (N,) of every image, on the device.

    The last batch is padded to full size, so that a compiled model sees one shape.
    """
    size = pipeline.request.batch_size
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    model.eval()
    for images_BCHW, labels_B in pipeline.epoch(0):
        count = len(images_BCHW)
        if count < size:
            images_BCHW = padded(images_BCHW, size, pipeline.request.memory_format)
        with autocast():
            logits.append(model(images_BCHW)[:count].float())
        labels.append(labels_B)
    model.train()
    return torch.cat(logits), torch.cat(labels)


def padded(images_BCHW: Tensor, size: int, memory_format: torch.memory_format) -> Tensor:
    """`size` images: as many of `images_BCHW`, over and over."""
    repeats = -(-size // len(images_BCHW))
    full = images_BCHW.repeat(repeats, 1, 1, 1)[:size]
    return full.contiguous(memory_format=memory_format)
