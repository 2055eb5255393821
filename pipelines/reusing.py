"""Memory for batches on a CPU that is used again as soon as nobody holds the batch in it.

An allocator gives a freed batch back to the system, which clears its pages anew for the next, or
keeps it and does not fit the next one in: a loop that holds one batch at a time then occupies three
or four. Here it occupies two, always the same. On a GPU the caching allocator does this already.
"""

import torch
from torch import Tensor

KEPT = 2  # a loop holds one batch while the next is made


class Reused:
    """Gives out tensors of one shape.

    What is still held in any way (by the batch itself, a view, a NumPy array, a saved activation)
    keeps its memory; then new memory is taken, and only `KEPT` pieces of it are kept for later.

    Args:
        shape: Of the tensors, (B, C, H, W).
        dtype: Likewise.
        memory_format: Likewise.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format
    ) -> None:
        self._like = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)
        self._kept: list[torch.UntypedStorage] = []

    def take(self) -> Tensor:
        """A tensor on the CPU; what is in it is undefined."""
        # Memory that is shared with another process may be read there when no tensor holds it here.
        self._kept = [storage for storage in self._kept if not storage.is_shared()]
        for storage in self._kept:
            if holders(storage) == 1:
                return self._tensor(storage)
        storage = torch.UntypedStorage(self._like.nbytes)  # type: ignore[no-untyped-call]
        if len(self._kept) < KEPT:
            self._kept.append(storage)
        return self._tensor(storage)

    def _tensor(self, storage: torch.UntypedStorage) -> Tensor:
        empty = torch.empty(0, dtype=self._like.dtype)
        return empty.set_(storage, 0, self._like.shape, self._like.stride())


def holders(storage: torch.UntypedStorage) -> int:
    """How many tensors and other objects keep `storage` alive, `storage` itself included."""
    count: int = torch._C._storage_Use_Count(storage._cdata)
    return count
