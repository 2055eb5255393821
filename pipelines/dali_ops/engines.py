"""The two ways to run DALI's operators: graph mode and dynamic mode."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipelines.base import Unsupported
from pipelines.dali_ops.feeds import Feed
from pipelines.dali_ops.flow import Operators
from pipelines.dali_ops.plan import Plan, run_ops

PREFETCH = 2  # batches that DALI prepares ahead
HELD = PREFETCH + 2  # batches whose inputs are kept alive, as DALI doesn't copy them


class Engine(ABC):
    """Runs a plan, batch after batch, in the background."""

    def begin_epoch(self) -> None:  # noqa: B027 - only one of them has its own stream
        """Call when an epoch's samples are on their way to the device, before its batches."""

    @abstractmethod
    def submit(self, index_B: Tensor, draws: Sequence[Tensor]) -> None:
        """Starts a batch, given its samples on the feed's device and the draws."""

    @abstractmethod
    def take(self) -> Tensor:
        """The oldest pending batch: images (B, H, W, C) on the device."""

    @abstractmethod
    def close(self) -> None:
        """Ends DALI's work, before the inputs that it may still read are freed."""


class GraphEngine(Engine):
    """A DALI graph, built once; its inputs are named "0" (images), "1", "2", …

    On a GPU, images are gathered on a stream of their own and copied by DALI on that stream. Not
    copied, DALI would read them without waiting for the gather; on torch's stream, the gather would
    wait for the training steps in its queue.
    """

    def __init__(self, plan: Plan, feed: Feed, batch_size: int, device: torch.device) -> None:
        from nvidia.dali import fn, math, pipeline_def, types

        gpu = device.type == "cuda"
        self._device = device
        self._feed = feed
        self._gathering = torch.cuda.Stream(device) if feed.gpu else None  # type: ignore[no-untyped-call]
        self._held: deque[list[Any]] = deque(maxlen=HELD)

        def graph() -> Any:
            operators = Operators(fn=fn, math=math, types=types, gpu=gpu)
            place = "gpu" if feed.gpu else "cpu"
            fed = fn.external_source(name="0", device=place, no_copy=not feed.gpu)
            inputs = [
                fn.external_source(name=str(name), no_copy=True)
                for name in range(1, 1 + plan.inputs())
            ]
            return run_ops(plan, operators, feed.images(operators, fed), inputs)

        try:
            self._pipe: Any = pipeline_def(graph, enable_conditionals=plan.conditional)(
                batch_size=batch_size,
                num_threads=feed.threads,
                device_id=device_id(device) if gpu else None,
                prefetch_queue_depth=PREFETCH,
            )
        except Exception as error:
            if isinstance(error.__context__, Unsupported):  # DALI wraps what rewritten code raises
                raise error.__context__ from None
            raise
        self._pipe.build()

    def start(self, index_B: Tensor, draws: Sequence[Tensor]) -> None:
        """Fills and empties the queue: the first run takes several batches, later ones one."""
        self.begin_epoch()
        for _ in range(PREFETCH):
            self._give(index_B, draws)
        self._pipe.schedule_run()
        for _ in range(PREFETCH):
            self.take()

    def begin_epoch(self) -> None:
        if self._gathering is not None:
            self._gathering.wait_stream(torch.cuda.current_stream(self._device))

    def submit(self, index_B: Tensor, draws: Sequence[Tensor]) -> None:
        self._give(index_B, draws)
        self._pipe.schedule_run()

    def _give(self, index_B: Tensor, draws: Sequence[Tensor]) -> None:
        stream = self._gathering
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            fed = self._feed.batch(index_B)
        self._pipe.feed_input("0", fed, layout=self._feed.layout, cuda_stream=stream)
        arrays = [draw.numpy() for draw in draws]
        for name, array in enumerate(arrays, start=1):
            self._pipe.feed_input(str(name), array, layout="")
        self._held.append([fed, *arrays])

    def take(self) -> Tensor:
        gpu = self._device.type == "cuda"
        stream = torch.cuda.current_stream(self._device) if gpu else None
        (found,) = self._pipe.share_outputs(stream)
        x_BHWC: Tensor = from_dlpack(found.as_tensor())
        self._pipe.release_outputs()
        return x_BHWC

    def close(self) -> None:
        self._pipe._shutdown()


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

    def submit(self, index_B: Tensor, draws: Sequence[Tensor]) -> None:
        as_batch, fed = self._dynamic.as_batch, self._feed.batch(index_B)
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

    def close(self) -> None:
        self._context._async_executor.shutdown()


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
