"""PSGD Kron: second-order preconditioning by Kronecker factors."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups, timm_optimizer
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


@cache
def _uncompiled() -> "Callable[..., TorchOptimizer]":
    """timm's class without its compiled functions, which take minutes and gain nothing on a CPU."""
    parent: Any = timm_optimizer("Kron")
    from timm.optim import kron

    class Kron(parent):  # type: ignore[misc]
        def _init_fns(self) -> None:
            super()._init_fns()
            for name in ("_calc_A_and_conjB", "_q_terms", "_precond_grad", "_balance_Q"):
                setattr(self, name, getattr(kron, name))

    return Kron


def build(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's Kron; a convolution is a matrix whose shorter side has a full factor.

    A step waits for the GPU once for each weight whose factor it updates, as timm compares two
    norms in Python. Its random numbers come from torch's global generator, which a run seeds.
    """
    return _uncompiled()(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
        precond_lr=recipe.option("factor_lr"),
        memory_save_mode="one_diag",
        flatten=True,
        flatten_start_dim=1,
        decoupled_decay=True,
    )


KRON = Optimizer(
    name="kron",
    why="PSGD with Kronecker factors, related to Shampoo and SOAP: fewer but costlier steps.",
    reference="https://github.com/lixilinx/psgd_torch",
    build=build,
    recipe=Recipe(lr=1e-3, weight_decay=0.05, schedule="one_cycle", label_smoothing=0.1),
    options={"momentum": 0.9, "factor_lr": 0.1},
)
