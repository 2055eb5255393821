"""Counts and checks the batches that a pipeline delivers in a run."""

from collections.abc import Generator, Iterable, Iterator

import torch
from torch import Tensor

from bench.text import count
from pipelines.base import Batch, BrokenPromise, Cursor, Pipeline
from pipelines.sources.base import Images

WARMUP_EPOCH = 2**31  # beyond all training epochs: its random draws are never reused
FORM = (
    "images of shape {}", "images of type {}", "images on {}",
    "labels of shape {}", "labels of type {}", "labels on {}",
)  # fmt: skip
Form = tuple[object, ...]


class Delivery:
    """What a pipeline delivers in a run, compared with what was requested.

    Shape, type and device are compared for each batch, and batches are counted in each epoch.
    Values are read only off the training clock: pixels in the warm-up, labels after each epoch.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        name: str,
        images: Images,
        *,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._pipeline, self._name = pipeline, name
        self._classes = images.classes
        self._sizes_K = torch.bincount(images.labels, minlength=len(images.classes)).to(device)
        self.steps_per_epoch = len(images) // batch_size
        self.images = 0
        self._labels_SB = torch.zeros(
            self.steps_per_epoch, batch_size, dtype=torch.int64, device=device
        )
        self._mixed = False
        place = device.type
        shape = batch_size, images.images.shape[3], *images.image_size
        mixed = batch_size, len(images.classes)
        self._plain_form: Form = (shape, dtype, place, (batch_size,), torch.int64, place)
        self._mixed_form: Form = (shape, dtype, place, mixed, torch.float32, place)

    def epoch(self, index: int) -> Iterator[Batch]:
        """The batches of an epoch; never waits for the device.

        Raises:
            BrokenPromise: A batch has another form, or the number of batches is wrong.
        """
        return self._checked(self._pipeline.epoch(index), index)

    def _checked(self, batches: Iterable[Batch], index: int) -> Iterator[Batch]:
        self.images, step, steps = 0, 0, self.steps_per_epoch
        self._mixed = False
        for batch in batches:
            if step == steps:
                raise self._broken(f"{_name(index)} has more than {_batches(step)}")
            form = self._form(batch, step, index)
            if form == self._plain_form:
                self._labels_SB[step].copy_(batch[1])
            elif form == self._mixed_form:
                self._mixed = True
            else:
                raise self._broken(self._difference(form, step, index))
            step += 1
            self.images += len(batch[0])
            yield batch
        if step < steps:
            raise self._broken(f"{_name(index)} has {_batches(step)}, not {steps}")

    def first_batch(self) -> Batch:
        """The first batch of the warm-up, its values checked; BrokenPromise if there is none."""
        steps, announced = self.steps_per_epoch, self._pipeline.steps_per_epoch
        if announced != steps:
            raise self._broken(f"it announces {_batches(announced)} an epoch, not {steps}")
        source = self._pipeline.epoch(WARMUP_EPOCH)
        batch = next(self._checked(source, WARMUP_EPOCH), None)
        if isinstance(source, Generator):
            source.close()  # its workers must be idle while steps are timed
        if batch is None:
            raise self._broken(f"{_name(WARMUP_EPOCH)} has no batch")
        images_BCHW, labels = batch
        if (~images_BCHW.isfinite()).any():
            raise self._broken("pixels of its first batch are not finite numbers")
        self._check_labels(labels, "its first batch")
        return batch

    def check_cursor(self, cursor: Cursor) -> None:
        """Checks an epoch of a cursor, as replays cannot be checked; raises BrokenPromise."""
        cursor.begin(WARMUP_EPOCH)
        for _ in self._checked((cursor.next() for _ in range(self.steps_per_epoch)), WARMUP_EPOCH):
            pass
        self.check_epoch(WARMUP_EPOCH)

    def check_epoch(self, index: int) -> None:
        """Checks the labels of the last epoch; waits for the device."""
        if self._mixed:
            return
        self._check_labels(self._labels_SB, _name(index))
        counts_K = torch.bincount(self._labels_SB.flatten(), minlength=len(self._classes))
        extra_K = counts_K - self._sizes_K
        if (extra_K > 0).any():
            most = int(extra_K.argmax())
            raise self._broken(
                f"{_name(index)} has {int(counts_K[most])} labels of class {self._classes[most]}, "
                f"which has {count(int(self._sizes_K[most]), 'image')}"
            )

    def _check_labels(self, labels: Tensor, where: str) -> None:
        if labels.is_floating_point():
            unknown = ((labels.sum(dim=1) - 1).abs() < 0.01).logical_not() | (labels < 0).any(dim=1)
            allowed = "shares of the classes, which add up to 1"
        else:
            unknown = (labels < 0) | (labels >= len(self._classes))
            allowed = f"numbers from 0 to {len(self._classes) - 1}"
        if unknown.any():
            raise self._broken(f"labels of {where} are not {allowed}")

    def _form(self, batch: Batch, step: int, index: int) -> Form:
        try:
            x, y = batch
            return x.shape, x.dtype, x.device.type, y.shape, y.dtype, y.device.type
        except (AttributeError, TypeError, ValueError):
            where = f"batch {step + 1} of {_name(index)}"
            raise self._broken(f"{where} is not a pair of tensors (images, labels)") from None

    def _difference(self, form: Form, step: int, index: int) -> str:
        is_mixed = isinstance(form[3], tuple) and len(form[3]) == 2
        wanted = self._mixed_form if is_mixed else self._plain_form
        text, found, other = next(
            (text, one, two)
            for text, one, two in zip(FORM, form, wanted, strict=True)
            if one != two
        )
        found, other = (tuple(v) if isinstance(v, tuple) else v for v in (found, other))
        return f"batch {step + 1} of {_name(index)} has {text.format(found)}, not {other}"

    def _broken(self, what: str) -> BrokenPromise:
        return BrokenPromise(f"the pipeline {self._name} breaks its promise: {what}")


def _batches(number: int) -> str:
    return count(number, "batch", "batches")


def _name(index: int) -> str:
    return "the warm-up" if index == WARMUP_EPOCH else f"epoch {index + 1}"
