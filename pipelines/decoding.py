"""Decodes image files into batches, in threads that don't hold Python's lock meanwhile."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from pipelines.base import Request, usable_cores
from pipelines.sources.decode import read_listed

THREADS, READ_AHEAD = "threads", "read_ahead"
OPTIONS = {THREADS: 0, READ_AHEAD: 0}  # 0 for the choice below
AHEAD = 2  # batches


class Decoder:
    """A `Reader` of `Images.files`: as `sources.decode.read_image`, within 1 of 255.

    The request's options are `threads` (0 for one per usable core) and `read_ahead`, in batches.
    """

    def __init__(self, request: Request) -> None:
        self._files = request.images.files
        self._size = request.images.image_size[0]
        self._pinned = request.device.type == "cuda"
        self._ahead = request.options.get(READ_AHEAD) or AHEAD
        self._pool = ThreadPoolExecutor(request.options.get(THREADS) or usable_cores())

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
        rows = iter(order_SB.tolist())
        try:
            while True:
                while len(waiting) < self._ahead and (row := next(rows, None)) is not None:
                    shape = len(row), self._size, self._size, 3
                    batch_BHWC = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
                    waiting.append(
                        (
                            batch_BHWC,
                            [
                                self._pool.submit(self._read, *each)
                                for each in zip(batch_BHWC, row, strict=True)
                            ],
                        )
                    )
                if not waiting:
                    return
                batch_BHWC, futures = waiting.popleft()
                for future in futures:
                    future.result()
                yield batch_BHWC
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _read(self, to_HWC: Tensor, index: int) -> None:
        path = self._files[index]
        to_HWC.copy_(torch.from_numpy(read_listed(path.parent, path, self._size).copy()))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
