"""Which operators make the host wait for the device."""

from collections.abc import Sequence
from typing import Any

import torch

WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
MASKS = (torch.bool, torch.uint8)
INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}


def waits(operator: Any, arguments: Sequence[Any]) -> bool:
    """Whether its result, or the result's size, must be known to the host."""
    if operator in INDEXING:
        return any(index is not None and index.dtype in MASKS for index in arguments[1])
    return bool(WAITS & set(operator.tags))
