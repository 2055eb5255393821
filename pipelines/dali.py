"""NVIDIA DALI's operators with the suite's order of samples and random numbers.

DALI's own random numbers depend on earlier epochs, and its continuous crop position gives the two
outermost offsets half the weight. Random numbers passed as arguments avoid both. Without an NVIDIA
driver the same ops run on DALI's CPU operators.

`dali[dynamic]` calls the same operators one by one in DALI's dynamic mode, which is experimental.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.catalog import Unavailable
from pipelines.dali_ops import own
from pipelines.dali_ops.engines import HELD, PREFETCH, DynamicEngine, Engine, GraphEngine
from pipelines.dali_ops.feeds import ArrayFeed, FileFeed, unfit
from pipelines.dali_ops.plan import OPS, make_plan
from pipelines.dali_ops.trial import fault, missing
from pipelines.native_ops.mixes import mixed_labels

DYNAMIC = "dynamic"


class DaliPipeline(Pipeline):
    """Feeds DALI with samples and random numbers, `PREFETCH` batches ahead."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, DALI.semantics(request.augmentation, request.mode))
        broken = fault(request.device.type, dynamic=request.mode == DYNAMIC)
        if broken:
            raise Unavailable(f"dali cannot be used here: {broken}; bench doctor says what to do")
        self._labels_N = request.images.labels.to(request.device)
        self._plan = make_plan(request)
        self._feed = (
            FileFeed(request) if request.images.files else ArrayFeed(request, self._plan, HELD)
        )
        self._running: deque[Tensor] = deque()  # samples of the batches DALI is working on
        self._engine: Engine | None = self._start()

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        order = self.permutation(index)
        on_device = order.to(request.device)  # once: copying per batch would wait for the GPU
        labels = self._labels_N[on_device]
        fed = on_device if self._feed.gpu else order
        generator = torch.Generator().manual_seed(derive_seed(request.seed, "draws", index))
        flipped_N = flipped(request, index).to(torch.int32)
        shares: deque[Tensor | None] = deque()
        scheduled = 0
        if self._engine is None:
            raise RuntimeError("this pipeline was closed")
        self._engine.begin_epoch()
        try:
            for step, labels_B in enumerate(labels):
                while scheduled < min(step + PREFETCH, len(order)):
                    draws, share_B = self._plan.draw(generator, flipped_N[order[scheduled]])
                    shares.append(share_B)
                    self._submit(order[scheduled], fed[scheduled], draws)
                    scheduled += 1
                x_BCHW = self._take()
                self._feed.check(order[step])
                yield x_BCHW, self._mixed(labels_B, shares.popleft())
        finally:
            # An interrupted epoch leaves batches in the queue that the next epoch must not get.
            while self._running and self._engine is not None:
                self._take()

    def _start(self) -> Engine:
        request, plan, feed = self.request, self._plan, self._feed
        if request.mode == DYNAMIC:
            return DynamicEngine(plan, feed, request.device)
        engine = GraphEngine(plan, feed, request.batch_size, request.device)
        count = 1 if request.images.files else request.batch_size
        first_B = torch.arange(count)
        draws, _ = plan.draw(
            torch.Generator().manual_seed(0), torch.zeros(count, dtype=torch.int32)
        )
        try:
            fed_B = first_B.to(request.device) if feed.gpu else first_B
            engine.start(fed_B, draws)
        except RuntimeError as error:
            engine.close()
            raise feed.explain(first_B, error) from error
        return engine

    def _submit(self, index_B: Tensor, fed_B: Tensor, draws: Sequence[Tensor]) -> None:
        """Starts a batch; `fed_B` are its samples on the feed's device."""
        assert self._engine is not None, "the pipeline is closed"
        self._running.append(index_B)
        try:
            self._engine.submit(fed_B, draws)
        except RuntimeError as error:
            raise self._close_after(error) from error

    def _take(self) -> Tensor:
        assert self._engine is not None, "the pipeline is closed"
        try:
            x_BHWC = self._engine.take()
        except RuntimeError as error:
            raise self._close_after(error) from error
        self._running.popleft()
        x_BCHW = x_BHWC.permute(0, 3, 1, 2).to(self.request.dtype)
        return x_BCHW.contiguous(memory_format=self.request.memory_format)

    def _close_after(self, error: Exception) -> Exception:
        """Closes the pipeline after an error of DALI; returns the error to raise."""
        self.close()
        return self._feed.explain(torch.cat(list(self._running)), error)

    def _mixed(self, labels_B: Tensor, share_B: Tensor | None) -> Tensor:
        if share_B is None:
            return labels_B
        classes = len(self.request.images.classes)
        return mixed_labels(labels_B, share_B.to(labels_B.device, non_blocking=True), classes)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None


DALI = Library(
    name="dali",
    why=(
        "NVIDIA's pipeline engine with its own fused kernels, outside of torch; "
        "its dynamic mode is experimental; dali[own] also does RandAugment, TrivialAugment and "
        "AutoAugment by DALI's definitions, which differ from ours."
    ),
    build=DaliPipeline,
    ops=dict.fromkeys(OPS, "per sample"),
    own=own.OWN_OPS,
    plugin_ops="dali",
    modes=("graph", "dynamic", "own"),
    problem=lambda mode, device: missing(),
    decodes=True,
    unfit=unfit,
    reference="https://github.com/NVIDIA/DALI",
)
