"""Reuses the memory of batches on a CPU once no tensor holds it.

The default allocator either returns the memory of a freed batch to the system, which must clear its
pages again, or fragments, so that a loop that holds one batch takes the memory of three or four.
Here it takes two. On a GPU, torch's caching allocator already does this.
"""

import torch
from torch import Tensor

MAX_KEPT = 2  # one batch in use, one being made


class BatchMemory:
    """Provides tensors of one shape (B, C, H, W), type and memory format.

    Memory that is still in use (by the batch, a view, a NumPy array, a saved activation) is not
    reused; new memory is allocated instead. At most `kept` blocks are kept.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        kept: int = MAX_KEPT,
    ) -> None:
        self._max_kept = kept
        self._like = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)
        self._kept: list[torch.UntypedStorage] = []

    def take(self) -> Tensor:
        """A tensor on the CPU with undefined contents."""
        # Another process may read shared memory even if no tensor here holds it.
        self._kept = [storage for storage in self._kept if not storage.is_shared()]
        for storage in self._kept:
            if use_count(storage) == 1:
                return self._tensor(storage)
        storage = torch.UntypedStorage(self._like.nbytes)  # type: ignore[no-untyped-call]
        if len(self._kept) < self._max_kept:
            self._kept.append(storage)
        return self._tensor(storage)

    def _tensor(self, storage: torch.UntypedStorage) -> Tensor:
        empty = torch.empty(0, dtype=self._like.dtype)
        return empty.set_(storage, 0, self._like.shape, self._like.stride())


def use_count(storage: torch.UntypedStorage) -> int:
    """Number of objects that keep a storage alive, itself included."""
    count: int = torch._C._storage_Use_Count(storage._cdata)
    return count
