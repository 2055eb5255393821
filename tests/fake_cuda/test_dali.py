"""DALI's feed on a GPU gathers and copies on one stream, separate from training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Request
from pipelines.dali_ops.engines import GraphEngine
from pipelines.dali_ops.feeds import ArrayFeed
from pipelines.dali_ops.plan import make_plan
from tests.fake_cuda.device import CUDA, fake_cuda
from tests.pipelines.test_dali import noise


class Stream:
    """Records what it waits for."""

    def __init__(self, device: object = None) -> None:
        self.waited: list[object] = []

    def wait_stream(self, other: object) -> None:
        self.waited.append(other)


@pytest.fixture
def dali(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    module = MagicMock()
    monkeypatch.setitem(sys.modules, "nvidia.dali", module)
    return module


def test_gather_and_copy_share_a_stream_that_does_not_wait_for_steps(
    dali: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, training, pipe = [], Stream(), MagicMock()
    dali.pipeline_def.side_effect = lambda graph, **_: lambda **_: (graph(), pipe)[1]

    @contextmanager
    def entered(stream: Stream) -> Iterator[None]:
        current.append(stream)
        yield
        current.pop()

    gathered_on: list[Any] = []
    gather = ArrayFeed.batch

    def noted(feed: ArrayFeed, index_B: Tensor) -> Any:
        gathered_on.append(current[-1] if current else training)
        return gather(feed, index_B)

    with fake_cuda(monkeypatch):
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", entered)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: training)
        monkeypatch.setattr(ArrayFeed, "batch", noted)
        policy = Augmentation(ops=())
        request = Request(images=noise(), augmentation=policy, batch_size=4, device=CUDA)
        plan = make_plan(request)
        engine = GraphEngine(plan, ArrayFeed(request, plan, 4), 4, CUDA)
        engine.begin_epoch()
        engine.submit(torch.arange(4, device=CUDA), [])
    (stream,) = gathered_on
    fed = pipe.feed_input.call_args_list[0]
    assert fed.kwargs["cuda_stream"] is stream is not training
    assert stream.waited == [training]  # once an epoch, for the order of its samples
    images = dali.fn.external_source.call_args_list[0]
    assert images.kwargs["device"] == "gpu"
    assert not images.kwargs["no_copy"]


def test_on_a_cpu_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia = pytest.importorskip("nvidia.dali")
    source = MagicMock(wraps=nvidia.fn.external_source)
    monkeypatch.setattr(nvidia.fn, "external_source", source)
    building.build("dali", noise(), Augmentation(ops=()), batch_size=4, device="cpu").close()
    assert source.call_args_list[0].kwargs["no_copy"]
