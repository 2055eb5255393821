"""PSGD Kron: second-order preconditioning by Kronecker factors."""

from functools import cache
from typing import Any

import torch
from torch import nn

from bench.optimizers import Optimizer
from bench.optimizers._param_groups import decay_groups
from bench.optimizers._timm import timm_optimizer
from bench.recipe import Recipe


@cache
def _uncompiled() -> Any:
    """timm's class, its functions as they are.

    timm compiles each for every shape of weight, which takes minutes and, on a CPU, gains nothing.
    """
    parent = timm_optimizer("Kron")
    from timm.optim import kron

    class Kron(parent):  # type: ignore[misc,valid-type]
        def _init_fns(self) -> None:
            super()._init_fns()
            for name in ("_calc_A_and_conjB", "_q_terms", "_precond_grad", "_balance_Q"):
                setattr(self, name, getattr(kron, name))

    return Kron


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's; a convolution is a matrix, whose shorter side has a full factor.

    A step waits for a GPU once for each weight whose factor it updates: timm compares two norms in
    Python. Its draws come from torch's generator, which a run seeds.
    """
    optimizer: torch.optim.Optimizer = _uncompiled()(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        momentum=recipe.option("momentum"),
        precond_lr=recipe.option("factor_lr"),
        memory_save_mode="one_diag",
        flatten=True,
        flatten_start_dim=1,
        decoupled_decay=True,
    )
    return optimizer


KRON = Optimizer(
    name="kron",
    why="PSGD with Kronecker factors, the kin of Shampoo and SOAP: fewer steps, each dearer.",
    reference="https://github.com/lixilinx/psgd_torch",
    build=build,
    recipe=Recipe(lr=1e-3, weight_decay=0.05, schedule="one_cycle", label_smoothing=0.1),
    options={"momentum": 0.9, "factor_lr": 0.1},
)
