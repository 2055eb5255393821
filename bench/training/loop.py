"""The hot loops, which never wait for the device, print, or read values back."""

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
from bench.training.compiling import Loss
from bench.training.freezing import Freezing
from bench.training.lr_schedule import LRSchedule
from bench.training.tta import averaged_logits
from bench.training.weight_average import WeightAverage, refresh_statistics
from pipelines.base import Batch, Pipeline

Autocast = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step: forward, backward, update.

    Args:
        model: Images (B, C, H, W) to logits (B, classes); may be compiled.
        autocast: Creates the mixed-precision context of the forward pass.
        loss: Logits (B, classes) and labels to the mean loss; may be compiled.
        passes: If more than one, `optimizer.step` gets a function that runs another pass, which
            replaces the gradients.
        average: Average of the weights, if any.
        recent: Images of the last steps, from which schedule-free optimizers refresh batch-norm
            statistics; None for all others.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: LRSchedule
    autocast: Autocast
    label_smoothing: float
    loss: Loss = F.cross_entropy
    passes: int = 1
    freezing: Freezing | None = None
    average: WeightAverage | None = None
    recent: deque[Tensor] | None = None

    def __call__(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """Takes the step; returns the batch's mean loss, detached, on the device."""
        loss = self.device_work(images_BCHW, labels)
        self.host_work()
        if self.recent is not None:
            self.recent.append(images_BCHW)
        return loss

    def device_work(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """The part of a step on the device, with the same operations each time."""
        loss = self.backward(images_BCHW, labels)
        self.update(images_BCHW, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return loss.detach()

    def update(self, images_BCHW: Tensor, labels: Tensor) -> None:
        """The optimizer's update, after `backward`, including its further passes."""
        if self.passes > 1:
            self.optimizer.step(partial(self.closure, images_BCHW, labels))  # type: ignore[arg-type]
        else:
            self.optimizer.step()

    def closure(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """Another pass for `optimizer.step`: clears the gradients, and returns the loss.

        Source: https://docs.pytorch.org/docs/stable/optim.html#optimizer-step-closure
        """
        self.optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            return self.backward(images_BCHW, labels)

    def host_work(self) -> None:
        """The part of a step that depends on the number of steps, which the host counts."""
        if self.freezing is not None:
            self.freezing.step()
        if self.average is not None:
            self.average.update()
        if hasattr(self.optimizer, "host_step"):
            self.optimizer.host_step()

    @property
    def freeze_state(self) -> int:
        """The step at which the current freeze state began; 0 if everything is trained."""
        return 0 if self.freezing is None else self.freezing.state

    @property
    def freeze_states(self) -> tuple[int, ...]:
        """All freeze states of a run."""
        return (0,) if self.freezing is None else (0, *self.freezing.changes)

    def go_to_freeze_state(self, state: int) -> None:
        """Freezes exactly the parameters that are frozen in a state."""
        if self.freezing is not None:
            self.freezing.go_to(state)

    def backward(self, images_BCHW: Tensor, labels: Tensor) -> Tensor:
        """One pass; returns the mean loss and adds its gradients to the weights'."""
        with self.autocast():
            logits_BK = self.model(images_BCHW)
            loss = self.loss(logits_BK, labels, label_smoothing=self.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def begin_evaluation(self) -> None:
        """Puts the weights for evaluation into the model."""
        if self.average is not None:
            self.average.begin_evaluation()
        if self.recent is not None:
            self.optimizer.eval()  # type: ignore[attr-defined]
            with self.autocast():
                refresh_statistics(getattr(self.model, "_orig_mod", self.model), self.recent)

    def begin_training(self) -> None:
        """Puts the weights for training back into the model."""
        if self.average is not None:
            self.average.begin_training()
        if self.recent is not None:
            self.optimizer.train()  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A model's outputs for a set of images.

    Args:
        logits_NK: float32 (N, classes), averaged over the evaluation views.
        one_view_NK: The same for the unchanged images.
        labels_N: int64 (N,).
    """

    logits_NK: Tensor
    one_view_NK: Tensor
    labels_N: Tensor


def train_epoch(step: Step, batches: Iterable[Batch], device: torch.device) -> Tensor:
    """Takes a step on every batch; returns the sum of the losses, a scalar on the device."""
    loss_sum = torch.zeros((), device=device)
    for images_BCHW, labels in batches:
        loss_sum += step(images_BCHW, labels)
    return loss_sum


def cached_step_s(step: Callable[[], object], device: torch.device, *, steps: int) -> list[float]:
    """Seconds of each of `steps` steps on one batch that is already on the device.

    On a CPU each step is timed; on a GPU all together, as waiting after each would cost time.
    """
    if device.type != "cuda":
        return [_timed(step) for _ in range(steps)]
    synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return [(time.perf_counter() - start) / steps] * steps


def _timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


@torch.no_grad()
def predict(
    model: nn.Module, pipeline: Pipeline, autocast: Autocast, *, eval_views: int = 1
) -> Predictions:
    """Logits of every image, on the device; the last batch is padded, so that shapes stay."""
    size = pipeline.request.batch_size
    logits: list[Tensor] = []
    one_view: list[Tensor] = []
    labels: list[Tensor] = []
    model.eval()
    for images_BCHW, labels_B in pipeline.epoch(0):
        count = len(images_BCHW)
        if count < size:
            images_BCHW = padded(images_BCHW, size, pipeline.request.memory_format)
        with autocast():
            average_BK, one_view_BK = averaged_logits(model, images_BCHW, eval_views)
        logits.append(average_BK[:count])
        one_view.append(one_view_BK[:count])
        labels.append(labels_B)
    model.train()
    return Predictions(
        logits_NK=torch.cat(logits), one_view_NK=torch.cat(one_view), labels_N=torch.cat(labels)
    )


def padded(images_BCHW: Tensor, size: int, memory_format: torch.memory_format) -> Tensor:
    """`size` images: `images_BCHW` repeated as often as necessary."""
    repeats = -(-size // len(images_BCHW))
    full = images_BCHW.repeat(repeats, 1, 1, 1)[:size]
    return full.contiguous(memory_format=memory_format)
