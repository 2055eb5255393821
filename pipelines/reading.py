"""The interface of what reads images into batches; a pipeline's ops are then applied to these."""

from collections.abc import Generator
from typing import Protocol

from torch import Tensor


class Reader(Protocol):
    """Reads the images of a set, in a given order and ahead of their use."""

    def batches(self, order_SB: Tensor) -> Generator[Tensor, None, None]:
        """The images of each row of `order_SB`: uint8 (B, H, W, C) on the CPU or the device.

        A batch is not changed as long as a tensor holds it. Closing the generator stops the work.
        At most one is open at a time.

        Raises:
            SourceError: An image can't be read; the message names its file.
        """
        ...

    def close(self) -> None:
        """Frees threads and processes; safe to call twice."""
        ...
