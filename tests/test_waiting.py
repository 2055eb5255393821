"""Nothing in the timed region waits for the device: no value is read back, no shape depends on one.

PyTorch tags the operators whose result the host must know (`data_dependent_output`) or whose size
depends on values (`dynamic_output_shape`); indexing by a mask is one too but not tagged. On a CPU
they cost nothing, on a GPU each of them stops the queue and forbids a CUDA graph.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partialmethod
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import architectures
import pipelines
from bench import optimizers
from bench.loop import Step, train_epoch
from pipelines import augmentations
from pipelines.base import Pipeline
from pipelines.sources.base import Images
from tests.made_optimizers import made_step
from tests.test_optimizers import WAITING
from tests.waiting import waits

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


def counters(step: Step) -> list[Tensor]:
    holders = [*step.optimizer.state.values(), *step.optimizer.param_groups]
    return [holder["step"] for holder in holders if isinstance(holder.get("step"), Tensor)]


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


@pytest.mark.parametrize("name", list(architectures.catalog.entries))
def test_an_epoch_of_a_net_never_waits(name: str) -> None:
    entry = architectures.get(name)
    net = architectures.build(name, width=0.125 if entry.scales else 1.0)
    step = made_step(net, "sgd", steps=4)
    with built("none") as pipeline:
        train_epoch(step, pipeline.epoch(0), torch.device("cpu"))
        with timed_region(counters(step)) as found:
            train_epoch(step, pipeline.epoch(1), torch.device("cpu"))
    assert found == []


@pytest.mark.parametrize("name", list(optimizers.catalog.entries))
def test_an_epoch_of_an_optimizer_never_waits(name: str) -> None:
    step = made_step(architectures.build("cnn2", width=0.125), name, steps=4)
    with built("flip_crop") as pipeline:
        train_epoch(step, pipeline.epoch(0), torch.device("cpu"))
        with timed_region(counters(step)) as found:
            train_epoch(step, pipeline.epoch(1), torch.device("cpu"))
    assert bool(found) == (name in WAITING)
