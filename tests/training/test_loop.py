"""The hot loops: a step, an epoch, predictions; nothing in the timed region waits for the device.

PyTorch tags the operators whose result the host must know (`data_dependent_output`) or whose size
depends on values (`dynamic_output_shape`); indexing by a mask is one too but not tagged. On a CPU
they cost nothing; on a GPU each of them stalls the queue and forbids a CUDA graph.

The quick tier has every optimizer, every policy and the default nets, the slow tier all nets.
"""

import ast
import inspect
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
from bench.optimizers._building import host_counters
from bench.training import loop
from bench.training.loop import Step, cached_step_s, padded, predict, train_epoch
from bench.training.lr_schedule import LRSchedule
from pipelines import augmentations
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Pipeline, Request
from pipelines.evaluation import EvaluationPipeline
from pipelines.sources.base import Images
from tests.made_optimizers import WAITING, made_step
from tests.waiting import waits

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


def test_a_step_is_one_update_by_hand() -> None:
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


def test_the_schedule_moves_once_a_step() -> None:
    step = loop_step(made_net())
    train_epoch(step, batches(3), CPU)
    assert step.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 4)


def test_an_epoch_gives_the_sum_of_its_losses() -> None:
    one, other = loop_step(made_net()), loop_step(made_net())
    losses = [other(*batch) for batch in batches(4)]
    torch.testing.assert_close(train_epoch(one, batches(4), CPU), torch.stack(losses).sum())


def test_the_ceiling_takes_as_many_steps_as_it_is_asked_for() -> None:
    step = loop_step(made_net())
    seconds = cached_step_s(partial(step, *next(batches(1))), CPU, steps=4)
    assert len(seconds) == 4
    assert min(seconds) > 0
    assert step.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 5)


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
def test_every_image_is_predicted_once_in_order_and_every_batch_is_full(
    count: int, sizes: list[int]
) -> None:
    net = Spy()
    found = predict(net, evaluation(count, 4), nullcontext)
    torch.testing.assert_close(found.logits_NK[:, 0], torch.arange(count, dtype=torch.float32))
    assert torch.equal(found.logits_NK, found.one_view_NK)
    assert found.logits_NK.dtype == torch.float32
    assert found.labels_N.tolist() == [index % 2 for index in range(count)]
    assert net.sizes == sizes
    assert net.modes == [False] * len(sizes)
    assert net.training


@pytest.mark.parametrize("size", [1, 4, 5, 11])
def test_padding_repeats_the_images_in_the_memory_format(size: int) -> None:
    images = torch.randn(4, 3, 2, 2)
    full = padded(images, size, torch.channels_last)
    assert full.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(full, images[torch.arange(size) % 4])


@pytest.mark.parametrize("function", [Step.__call__, Step.backward, train_epoch])
def test_nothing_in_the_timed_loop_waits_for_the_device(function: Any) -> None:
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    waiting = {"item", "cpu", "tolist", "numpy", "print", "synchronize", "float", "nonzero"}
    assert not called & waiting
    assert {"synchronize"} <= set(dir(loop))


READING = ("cpu", "numpy", "tolist", "__array__")  # methods that reach no operator on a CPU


class Waits(TorchDispatchMode):
    """Notes each operator for which the host waits, but for the counters it is told of.

    Args:
        counters: Tensors in host memory whatever the device is, as the step of an optimizer.
    """

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
    """The operators that wait in the `with` block; a tensor that is read as a whole raises."""
    with pytest.MonkeyPatch.context() as patch, Waits(counters) as mode:
        for name in READING:
            patch.setattr(Tensor, name, partialmethod(_refuse, name))
        yield mode.found


def _refuse(tensor: Tensor, name: str, *arguments: object) -> None:
    raise AssertionError(f"Tensor.{name} in the timed region")


@cache
def source() -> Images:
    """16 images."""
    whole = pipelines.load("shapes").train
    return replace(whole, images=whole.images[:16], labels=whole.labels[:16])


def built(policy: str) -> Pipeline:
    return pipelines.build("native[eager]", source(), policy, batch_size=8)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("item", lambda x: x.sum().item()),
        ("a condition", lambda x: bool(x.sum() > 0)),
        ("nonzero", lambda x: x.nonzero()),
        ("a mask", lambda x: x[x > 0]),
        ("assignment by a mask", lambda x: x.__setitem__(x > 0, 1.0)),
        ("masked_select", lambda x: x.masked_select(x > 0)),
        ("unique", lambda x: x.unique()),
        ("equal", lambda x: torch.equal(x, x)),
    ],
)
def test_what_waits_is_noticed(name: str, code: Any) -> None:
    with timed_region() as found:
        code(torch.ones(3))
    assert found, name


@pytest.mark.parametrize("name", READING)
def test_reading_a_tensor_is_noticed(name: str) -> None:
    x = torch.ones(1)
    with timed_region(), pytest.raises(AssertionError, match=f"Tensor.{name}"):
        getattr(x, name)()
    getattr(x, name)()


def test_work_on_the_device_is_not() -> None:
    with timed_region() as found:
        x = torch.ones(3)
        torch.where(x > 0, x, 2 * x)[torch.tensor([2, 0])].sum()
    assert found == []


@pytest.mark.parametrize("policy", list(augmentations.catalog.entries))
def test_an_epoch_of_the_native_pipeline_never_waits(policy: str) -> None:
    with built(policy) as pipeline, timed_region() as found:
        assert len(list(pipeline.epoch(0))) == 2
    assert found == []


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
    step = made_step(net, "sgd", steps=4)
    with built("none") as pipeline:
        train_epoch(step, pipeline.epoch(0), torch.device("cpu"))
        with timed_region(host_counters(step.optimizer)) as found:
            train_epoch(step, pipeline.epoch(1), torch.device("cpu"))
    assert found == []


@pytest.mark.parametrize("name", list(optimizers.catalog.entries))
def test_an_epoch_of_an_optimizer_never_waits(name: str) -> None:
    step = made_step(architectures.build("cnn2", width=0.125), name, steps=4)
    with built("flip_crop") as pipeline:
        train_epoch(step, pipeline.epoch(0), torch.device("cpu"))
        with timed_region(host_counters(step.optimizer)) as found:
            train_epoch(step, pipeline.epoch(1), torch.device("cpu"))
    assert bool(found) == (name in WAITING)
