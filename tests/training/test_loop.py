"""The hot loops: a step, an epoch, predictions; nothing in the timed region waits for the device.

Operators whose result or size the host must know cost nothing on a CPU; on a GPU each of them
stalls the queue and forbids a CUDA graph. The slow tier has all nets.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial, partialmethod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import architectures
import pipelines
from bench import optimizers
from bench.training.loop import Step, cached_step_s, predict, train_epoch
from bench.training.lr_schedule import LRSchedule
from pipelines import augmentations
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Pipeline, Request
from pipelines.evaluation import EvaluationPipeline
from pipelines.sources.base import Images
from tests.made_optimizers import WAITING, made_step
from tests.tape import waits

CPU = torch.device("cpu")


def made_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def loop_step(net: nn.Module, *, label_smoothing: float = 0.0) -> Step:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return Step(
        model=net,
        optimizer=optimizer,
        schedule=LRSchedule(optimizer, [lambda step: 1.0 / (step + 1)], 4),
        autocast=nullcontext,
        label_smoothing=label_smoothing,
    )


def batches(count: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield (
            torch.randn(5, 3, 4, 4, generator=generator),
            torch.randint(3, (5,), generator=generator),
        )


def test_a_step_equals_a_manual_update() -> None:
    net, other = made_net(), made_net()
    images, labels = next(batches(1))
    loss = loop_step(net, label_smoothing=0.1)(images, labels)
    expected = F.cross_entropy(other(images), labels, label_smoothing=0.1)
    expected.backward()
    with torch.no_grad():
        for parameter in other.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(loss, expected.detach())
    assert not loss.requires_grad
    for found, wanted in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)
        assert found.grad is None


def test_epochs_and_cached_steps_advance_the_schedule() -> None:
    one, other = loop_step(made_net()), loop_step(made_net())
    losses = [other(*batch) for batch in batches(3)]
    torch.testing.assert_close(train_epoch(one, batches(3), CPU), torch.stack(losses).sum())
    assert one.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 4)
    step = loop_step(made_net())
    seconds = cached_step_s(partial(step, *next(batches(1))), CPU, steps=4)
    assert len(seconds) == 4
    assert min(seconds) > 0
    assert step.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 5)


class Twice(torch.optim.SGD):
    """Takes a step with the gradient of a second pass, and keeps what the closure returned."""

    @torch.no_grad()
    def step(self, closure: Any) -> None:
        self.losses = [closure() for _ in range(self.passes)]
        super().step()


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_further_pass_replaces_the_gradients(passes: int) -> None:
    net, other = made_net(), made_net()
    optimizer = Twice(net.parameters(), lr=0.1)
    optimizer.passes = passes
    step, once = replace(loop_step(net), optimizer=optimizer, passes=2), loop_step(other)
    batch = next(batches(1))
    step(*batch)
    loss = once(*batch)
    for found, wanted in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(found, wanted)
    assert [value.item() for value in optimizer.losses] == [loss.item()] * passes


def test_an_optimizer_that_runs_many_passes_trains() -> None:
    net = made_net()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=5)
    step = replace(loop_step(net), optimizer=optimizer, passes=2)
    batch = next(batches(1))
    losses = [step(*batch).item() for _ in range(4)]
    assert losses[-1] < 0.1 * losses[0]


class Spy(nn.Module):
    """Counts the images of each call; the logit of class 0 is the image's first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.modes: list[bool] = []

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.sizes.append(len(x_BCHW))
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        assert x_BCHW.is_contiguous(memory_format=torch.channels_last)
        return torch.stack([x_BCHW[:, 0, 0, 0], -x_BCHW[:, 0, 0, 0]], dim=1).to(torch.bfloat16)


def evaluation(count: int, batch_size: int) -> EvaluationPipeline:
    images = torch.zeros(count, 4, 4, 3, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    made = Images(
        images=images,
        labels=torch.arange(count) % 2,
        classes=("a", "b"),
        mean=(0.0,) * 3,
        std=(1 / 255,) * 3,
    )
    policy = Augmentation(ops=[])
    return EvaluationPipeline(
        Request(images=made, augmentation=policy, batch_size=batch_size, device=CPU)
    )


@pytest.mark.parametrize(("count", "sizes"), [(12, [4, 4, 4]), (10, [4, 4, 4]), (3, [4]), (1, [4])])
def test_images_are_predicted_in_order_in_full_batches(count: int, sizes: list[int]) -> None:
    net = Spy()
    found = predict(net, evaluation(count, 4), nullcontext)
    torch.testing.assert_close(found.logits_NK[:, 0], torch.arange(count, dtype=torch.float32))
    assert torch.equal(found.logits_NK, found.one_view_NK)
    assert found.logits_NK.dtype == torch.float32
    assert found.labels_N.tolist() == [index % 2 for index in range(count)]
    assert net.sizes == sizes
    assert net.modes == [False] * len(sizes)
    assert net.training


READING = ("cpu", "numpy", "tolist", "__array__")  # methods that reach no operator on a CPU


class Waits(TorchDispatchMode):
    """Records each operator that makes the host wait, except on `counters` in host memory."""

    def __init__(self, counters: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.found: list[str] = []
        self._counters = {id(counter) for counter in counters}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if waits(func, args) and id(args[0]) not in self._counters:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def timed_region(counters: Sequence[Tensor] = ()) -> Iterator[list[str]]:
    """Collects the waiting operators in the `with` block; reading a whole tensor raises."""
    with pytest.MonkeyPatch.context() as patch, Waits(counters) as mode:
        for name in READING:
            patch.setattr(Tensor, name, partialmethod(_refuse, name))
        yield mode.found


def _refuse(tensor: Tensor, name: str, *arguments: object) -> None:
    raise AssertionError(f"Tensor.{name} in the timed region")


@cache
def source() -> Images:
    whole = pipelines.load("shapes").train
    return replace(whole, images=whole.images[:16], labels=whole.labels[:16])


def built(policy: str) -> Pipeline:
    return pipelines.build("native[eager]", source(), policy, batch_size=8)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("item", lambda x: x.sum().item()),
        ("a condition", lambda x: bool(x.sum() > 0)),
        ("a mask", lambda x: x[x > 0]),
        ("assignment by a mask", lambda x: x.__setitem__(x > 0, 1.0)),
        ("unique", lambda x: x.unique()),
    ],
)
def test_waiting_operators_are_detected(name: str, code: Any) -> None:
    with timed_region() as waiting:
        code(torch.ones(3))
    assert waiting, name


def test_reading_values_is_detected_and_device_work_is_not() -> None:
    x = torch.ones(3)
    with timed_region() as waiting:
        torch.where(x > 0, x, 2 * x)[torch.tensor([2, 0])].sum()
        for name in READING:
            with pytest.raises(AssertionError, match=f"Tensor.{name}"):
                getattr(x, name)()
    assert waiting == []


@pytest.mark.parametrize("policy", list(augmentations.catalog.entries))
def test_an_epoch_of_the_native_pipeline_never_waits(policy: str) -> None:
    with built(policy) as pipeline, timed_region() as found:
        assert len(list(pipeline.epoch(0))) == 2
    assert found == []


def host_counters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Counters that torch's and timm's optimizers keep in host memory and may read in a step."""
    holders = [*optimizer.state.values(), *optimizer.param_groups]
    values = [holder.get(name) for holder in holders for name in ("step", "mu_product")]
    return [value for value in values if isinstance(value, torch.Tensor)]


def waiting_in_an_epoch(step: Step, policy: str) -> list[str]:
    with built(policy) as pipeline:
        train_epoch(step, pipeline.epoch(0), CPU)
        with timed_region(host_counters(step.optimizer)) as waiting:
            train_epoch(step, pipeline.epoch(1), CPU)
    return waiting


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if entry.default else pytest.mark.slow)
        for name, entry in architectures.catalog.entries.items()
    ],
)
def test_an_epoch_of_a_net_never_waits(name: str) -> None:
    entry = architectures.get(name)
    net = architectures.build(name, width=0.125 if entry.scales else 1.0)
    assert waiting_in_an_epoch(made_step(net, "sgd", steps=4), "none") == []


@pytest.mark.parametrize("name", list(optimizers.catalog.entries))
def test_an_epoch_of_an_optimizer_never_waits(name: str) -> None:
    step = made_step(architectures.build("cnn2", width=0.125), name, steps=4)
    assert bool(waiting_in_an_epoch(step, "flip_crop")) == (name in WAITING)
