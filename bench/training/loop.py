"""The hot loops. Nothing in them waits for the device, prints, or reads a value back."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from bench.machine.clock import synchronize
from bench.training.freezing import Freezing
from bench.training.lr_schedule import LRSchedule
from bench.training.tta import averaged
from bench.training.weight_average import WeightAverage, refresh_statistics
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
        passes: With more than one the optimizer's step gets a function that runs another pass.
        freezing: Of parameters that train for a part of the run only.
        average: Of the weights, if one is kept.
        recent: Images of the last steps, for an optimizer that evaluates other weights than it
            trains; None for all others.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: LRSchedule
    autocast: Autocast
    label_smoothing: float
    passes: int = 1
    freezing: Freezing | None = None
    average: WeightAverage | None = None
    recent: deque[Tensor] | None = None

    def __call__(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """The batch's mean loss, detached, still on the device."""
        loss = self.work(images_BCHW, labels)
        self.count()
        if self.recent is not None:
            self.recent.append(images_BCHW)
        return loss

    def work(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """All that a step does on the device, each time by the same operations."""
        loss = self.backward(images_BCHW, labels)
        if self.passes > 1:
            self.optimizer.step(partial(self.backward, images_BCHW, labels))  # type: ignore[arg-type]
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return loss.detach()

    def count(self) -> None:
        """What depends on how many steps are done, and so is decided on the host."""
        if self.freezing is not None:
            self.freezing.count()
        if self.average is not None:
            self.average.update()

    @property
    def state(self) -> int:
        """Steps after which was frozen what now is; 0 if all is trained."""
        return 0 if self.freezing is None else self.freezing.state

    @property
    def states(self) -> tuple[int, ...]:
        """The states that a run goes through."""
        return (0,) if self.freezing is None else (0, *self.freezing.changes)

    def go_to(self, state: int) -> None:
        """Freezes what is frozen in a state, and thaws the rest."""
        if self.freezing is not None:
            self.freezing.go_to(state)

    def backward(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """One pass: the mean loss, its gradients added to the weights'."""
        with self.autocast():
            logits_BK = self.model(images_BCHW)
            loss = F.cross_entropy(logits_BK, labels, label_smoothing=self.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def settle(self) -> None:
        """Puts the weights that are to be evaluated into the model."""
        if self.average is not None:
            self.average.settle()
        if self.recent is not None:
            self.optimizer.eval()  # type: ignore[attr-defined]
            with self.autocast():
                refresh_statistics(getattr(self.model, "_orig_mod", self.model), self.recent)

    def resume(self) -> None:
        """Puts the weights that are trained back."""
        if self.average is not None:
            self.average.resume()
        if self.recent is not None:
            self.optimizer.train()  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a model says of images.

    Args:
        logits_NK: float32 (N, classes), averaged over the views.
        plain_NK: Likewise, of the images as they are.
        labels_N: int64 (N,).
    """

    logits_NK: Tensor
    plain_NK: Tensor
    labels_N: Tensor


def train_epoch(step: Step, batches: Iterable[Batch], device: torch.device) -> Tensor:
    """Runs `step` on every batch; the sum of the losses, a scalar on the device."""
    loss_sum = torch.zeros((), device=device)
    for images_BCHW, labels in batches:
        loss_sum += step(images_BCHW, labels)
    return loss_sum


def cached_step_s(once: Callable[[], object], device: torch.device, *, steps: int) -> list[float]:
    """Seconds of each of `steps` training steps on one batch that is on the device already.

    The ceiling: what the model could do if data cost nothing. Device-wide waits stand between the
    steps on a CPU only, where they cost nothing; on a GPU the steps are timed together.

    Args:
        once: Takes a step.
        device: That works.
        steps: How many.
    """
    if device.type != "cuda":
        return [_timed(once) for _ in range(steps)]
    synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        once()
    synchronize(device)
    return [(time.perf_counter() - start) / steps] * steps


def _timed(once: Callable[[], object]) -> float:
    start = time.perf_counter()
    once()
    return time.perf_counter() - start


@torch.no_grad()
def predict(
    model: nn.Module, pipeline: Pipeline, autocast: Autocast, *, eval_views: int = 1
) -> Predicted:
    """Logits of every image, on the device.

    The last batch is padded to full size, so that a compiled model sees one shape.
    """
    size = pipeline.request.batch_size
    logits: list[Tensor] = []
    plain: list[Tensor] = []
    labels: list[Tensor] = []
    model.eval()
    for images_BCHW, labels_B in pipeline.epoch(0):
        count = len(images_BCHW)
        if count < size:
            images_BCHW = padded(images_BCHW, size, pipeline.request.memory_format)
        with autocast():
            total_BK, plain_BK = averaged(model, images_BCHW, eval_views)
        logits.append(total_BK[:count])
        plain.append(plain_BK[:count])
        labels.append(labels_B)
    model.train()
    return Predicted(
        logits_NK=torch.cat(logits), plain_NK=torch.cat(plain), labels_N=torch.cat(labels)
    )


def padded(images_BCHW: Tensor, size: int, memory_format: torch.memory_format) -> Tensor:
    """`size` images: as many of `images_BCHW`, over and over."""
    repeats = -(-size // len(images_BCHW))
    full = images_BCHW.repeat(repeats, 1, 1, 1)[:size]
    return full.contiguous(memory_format=memory_format)
