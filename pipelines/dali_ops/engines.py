"""The two ways to run DALI's operators: graph mode and dynamic mode."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.dali_ops.feeds import Feed
from pipelines.dali_ops.flow import Operators
from pipelines.dali_ops.plan import Plan, run_ops

PREFETCH = 2  # batches that DALI prepares ahead
HELD = PREFETCH + 2  # batches whose inputs are kept alive, as DALI doesn't copy them


class Engine(ABC):
    """Runs a plan, batch after batch, in the background."""

    @abstractmethod
    def submit(self, fed: Any, draws: Sequence[Tensor]) -> None:
        """Starts a batch, given the feed's data and the draws."""

    @abstractmethod
    def take(self) -> Tensor:
        """The oldest pending batch: images (B, H, W, C) on the device."""


class GraphEngine(Engine):
    """A DALI graph, built once; its inputs are named "0" (images), "1", "2", …"""

    def __init__(self, plan: Plan, feed: Feed, batch_size: int, device: torch.device) -> None:
        from nvidia.dali import Pipeline, fn, math, types

        gpu = device.type == "cuda"
        self._device = device
        self._layout = feed.layout
        self._held: deque[list[Any]] = deque(maxlen=HELD)
        self._pipe: Any = Pipeline(
            batch_size=batch_size,
            num_threads=feed.threads,
            device_id=device_id(device) if gpu else None,
            prefetch_queue_depth=PREFETCH,
        )
        with self._pipe:
            operators = Operators(fn=fn, math=math, types=types, gpu=gpu)
            fed = fn.external_source(name="0", device="gpu" if feed.gpu else "cpu", no_copy=True)
            inputs = [
                fn.external_source(name=str(name), no_copy=True)
                for name in range(1, 1 + plan.inputs())
            ]
            images = run_ops(plan, operators, feed.images(operators, fed), inputs)
            self._pipe.set_outputs(images)
        self._pipe.build()

    def start(self, fed: Sequence[Any], draws: Sequence[Tensor]) -> None:
        """Fills and empties the queue: the first run takes several batches, later ones one."""
        for images in fed:
            self._give(images, draws)
        self._pipe.schedule_run()
        for _ in fed:
            self.take()

    def submit(self, fed: Any, draws: Sequence[Tensor]) -> None:
        self._give(fed, draws)
        self._pipe.schedule_run()

    def _give(self, fed: Any, draws: Sequence[Tensor]) -> None:
        arrays = [fed, *(draw.numpy() for draw in draws)]
        for name, array in enumerate(arrays):
            self._pipe.feed_input(str(name), array, layout=self._layout if name == 0 else "")
        self._held.append(arrays)

    def take(self) -> Tensor:
        gpu = self._device.type == "cuda"
        stream = torch.cuda.current_stream(self._device) if gpu else None
        (found,) = self._pipe.share_outputs(stream)
        x_BHWC: Tensor = from_dlpack(found.as_tensor())
        self._pipe.release_outputs()
        return x_BHWC


class DynamicEngine(Engine):
    """DALI's dynamic mode, which is experimental: every operator is called for every batch.

    On a GPU it uses torch's current stream at its creation, to avoid synchronisation.
    """

    def __init__(self, plan: Plan, feed: Feed, device: torch.device) -> None:
        from nvidia.dali import types
        from nvidia.dali.experimental import dynamic

        gpu = device.type == "cuda"
        self._dynamic: Any = dynamic
        self._plan = plan
        self._feed = feed
        self._operators = Operators(fn=dynamic, math=dynamic.math, types=types, gpu=gpu)
        self._context: Any = dynamic.EvalContext(
            num_threads=feed.threads,
            device_id=device_id(device) if gpu else None,
            cuda_stream=torch.cuda.current_stream(device) if gpu else None,
        )
        self._made: deque[Any] = deque()
        self._held: deque[list[Any]] = deque(maxlen=HELD)

    def submit(self, fed: Any, draws: Sequence[Tensor]) -> None:
        as_batch = self._dynamic.as_batch
        arrays = [fed, *(draw.numpy() for draw in draws)]
        with self._context:
            whole = OnOneStream(fed) if isinstance(fed, Tensor) else fed
            given = as_batch(whole, layout=self._feed.layout or None)
            images = self._feed.images(self._operators, given)
            inputs = [as_batch(array) for array in arrays[1:]]
            self._made.append(run_ops(self._plan, self._operators, images, inputs))
        self._held.append(arrays)

    def take(self) -> Tensor:
        with self._context:
            x_BHWC: Tensor = self._made.popleft().torch()
        return x_BHWC


class OnOneStream:
    """A tensor for DALI's dynamic mode on torch's own stream, without waiting.

    DALI requests the stream by its handle. Torch's default stream has handle 0, which isn't valid
    in DLPack and which torch refuses.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __dlpack_device__(self) -> tuple[Any, int]:
        return self._tensor.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        return self._tensor.__dlpack__(stream=-1)  # -1: no synchronisation


def device_id(device: torch.device) -> int:
    """The number of a CUDA device."""
    return torch.cuda.current_device() if device.index is None else device.index
