"""SAM around SGD: uses the gradient where the loss near the weights is highest."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.optimizers import Optimizer, sgd
from bench.optimizers._building import ChainedOptimizer
from bench.recipe import Recipe


class Sam(ChainedOptimizer):
    """Moves up the gradient by `rho`, computes the gradient there, and steps with it.

    Args:
        base: The optimizer that takes the step.
        net: Its running statistics are updated by the first pass only.
        rho: Euclidean length of the upward move, over all weights.

    Source: Foret et al. 2020, https://arxiv.org/abs/2010.01412
    """

    def __init__(self, base: torch.optim.Optimizer, net: nn.Module, rho: float) -> None:
        super().__init__(base)
        self._rho = rho
        self._statistics = [value for value in net.buffers() if value.is_floating_point()]

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """A step, given the first pass's gradients; `closure` runs the second pass."""
        assert closure is not None
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        kept = [value.clone() for value in [*trained, *self._statistics]]
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, self._rho / (length + 1e-12))
        torch._foreach_add_(trained, gradients)
        self.zero_grad(set_to_none=True)
        with torch.enable_grad():
            closure()
        torch._foreach_copy_([*trained, *self._statistics], kept)
        super().step()


def build(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SAM around `sgd`."""
    return Sam(sgd.build(net, recipe), net, recipe.option("rho"))


SAM = Optimizer(
    name="sam",
    why="Sharpness-aware SGD: flatter minima and better accuracy for twice the work per step.",
    reference="https://arxiv.org/abs/2010.01412",
    build=build,
    recipe=Recipe(lr=0.1, weight_decay=5e-4, schedule="one_cycle", warmup=0.2, label_smoothing=0.1),
    options={"momentum": 0.9, "bias_lr_factor": 1.0, "rho": 0.05},
    grows="in proportion",
    passes=2,
    capturable=True,
)
