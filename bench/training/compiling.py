"""How nets, losses and updates are compiled for a GPU."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.cell import Cell

Loss = Callable[..., Tensor]
POOL_BACKWARD = torch.ops.aten.max_pool2d_with_indices_backward
CACHE_TAG = "max_pool2d backward as a gather"


def gather_in_pools() -> None:
    """Makes Inductor compute the backward pass of max_pool2d by a gather; safe to call twice.

    Its own decomposition fills zeros at full resolution in float32, adds to them atomically and
    casts the sum (https://github.com/pytorch/pytorch/issues/195123): a step of airnet94 with 2,000
    images then moves 10.66 GB instead of 7.80.
    """
    from torch._inductor import decomposition

    for overload in ("default", "grad_input"):
        decomposition.decompositions.pop(getattr(POOL_BACKWARD, overload), None)
    decomposition.fast_random_decomps.cache_clear()  # a copy, made by the first compilation
    # Code compiled before, with the decomposition, must not come from the cache.
    torch.compiler.config.cache_key_tag = CACHE_TAG


def compiled_net(net: nn.Module, cell: Cell) -> nn.Module:
    """The compiled net, for one shape of batches."""
    gather_in_pools()
    compiled: nn.Module = torch.compile(net, dynamic=False, options=options(cell))  # type: ignore[assignment]
    return compiled


def options(cell: Cell) -> dict[str, Any] | None:
    """Inductor's options for a cell; None for its defaults."""
    if cell.device != "cuda":
        return None
    chosen: dict[str, Any] = {"combo_kernels": True}  # fewer launches of small kernels
    if cell.compile_mode == "max-autotune":  # without graphs, as the whole step becomes one
        chosen |= torch._inductor.list_mode_options("max-autotune-no-cudagraphs")
    return chosen


def loss_of(cell: Cell) -> Loss:
    """Cross-entropy; compiled on a GPU, where it would launch about 20 kernels.

    It is a graph of its own, so that nets need not be compiled again for each smoothing and kind of
    labels.
    """
    return compiled_loss() if cell.compile and cell.device == "cuda" else F.cross_entropy


@cache
def compiled_loss() -> Loss:
    """Cross-entropy with the arguments of `torch.nn.functional.cross_entropy`."""

    def loss(logits_BK: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        return F.cross_entropy(logits_BK, labels, label_smoothing=label_smoothing)

    return torch.compile(loss, dynamic=False, fullgraph=True)
