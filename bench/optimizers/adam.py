"""Adam and its relatives in torch and timm: RMSprop, AdamW, NAdam, ADOPT, LAMB and Lion."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.optimizers import Optimizer
from bench.optimizers._building import decay_groups, timm_optimizer
from bench.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


def build_adam(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's fused Adam; weight decay is added to the gradient."""
    from torch.optim import Adam

    return _build(Adam, net, recipe, eps=recipe.option("eps"), fused=True)


def build_adamw(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's fused AdamW."""
    from torch.optim import AdamW

    return _build(AdamW, net, recipe, eps=recipe.option("eps"), fused=True)


def build_nadam(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's NAdam, over all weights at once, with decoupled weight decay."""
    from torch.optim import NAdam

    return _build(
        NAdam,
        net,
        recipe,
        eps=recipe.option("eps"),
        momentum_decay=recipe.option("momentum_decay"),
        decoupled_weight_decay=True,
        foreach=True,
    )


def build_adopt(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's ADOPT, over all weights at once; its first step only initialises the second moment."""
    kind = timm_optimizer("Adopt")
    return _build(kind, net, recipe, eps=recipe.option("eps"), decoupled=True, foreach=True)


def build_lamb(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's LAMB, over all weights at once; the gradient's norm is clipped at `clip`."""
    eps, clip = recipe.option("eps"), recipe.option("clip")
    return _build(timm_optimizer("Lamb"), net, recipe, eps=eps, max_grad_norm=clip, foreach=True)


def build_lion(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """timm's Lion, over all weights at once."""
    return _build(timm_optimizer("Lion"), net, recipe, foreach=True)


def build_rmsprop(net: "nn.Module", recipe: Recipe) -> "TorchOptimizer":
    """torch's RMSprop, over all weights at once; weight decay is added to the gradient."""
    from torch.optim import RMSprop

    return RMSprop(
        decay_groups(net, recipe.weight_decay),
        lr=recipe.lr,
        alpha=recipe.option("alpha"),
        momentum=recipe.option("momentum"),
        eps=recipe.option("eps"),
        foreach=True,
    )


def _build(
    kind: "Callable[..., TorchOptimizer]", net: "nn.Module", recipe: Recipe, **more: object
) -> "TorchOptimizer":
    betas = recipe.option("beta1"), recipe.option("beta2")
    return kind(decay_groups(net, recipe.weight_decay), lr=recipe.lr, betas=betas, **more)


ADAM = Optimizer(
    name="adam",
    why="What most first projects use: Adam without weight decay.",
    reference="https://arxiv.org/abs/1412.6980",
    build=build_adam,
    recipe=Recipe(lr=2e-3, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    capturable=True,
)
ADAMW = Optimizer(
    name="adamw",
    why="Adam with decoupled weight decay: needs little tuning, and is standard for transformers.",
    reference="https://arxiv.org/abs/1711.05101",
    build=build_adamw,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    capturable=True,
    default=True,
)
NADAM = Optimizer(
    name="nadam",
    why="AdamW with Nesterov momentum: looks one step ahead without extra state per weight.",
    reference="https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ (Dozat 2016)",
    build=build_nadam,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "momentum_decay": 4e-3},
)
ADOPT = Optimizer(
    name="adopt",
    why="Adam that divides by the past second moment, and so converges for any beta2.",
    reference="https://arxiv.org/abs/2411.02853",
    build=build_adopt,
    recipe=Recipe(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.9999, "eps": 1e-6},
)
LAMB = Optimizer(
    name="lamb",
    why="Adam with steps in proportion to each layer's weights, for very large batches.",
    reference="https://arxiv.org/abs/1904.00962",
    build=build_lamb,
    recipe=Recipe(lr=1e-2, weight_decay=0.02, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "clip": 1.0},
)
LION = Optimizer(
    name="lion",
    why="The sign of a momentum: every weight moves by the same amount; one state per weight.",
    reference="https://arxiv.org/abs/2302.06675",
    build=build_lion,
    # A quarter of the rate of AdamW and four times its decay, in the range the paper advises.
    recipe=Recipe(lr=5e-4, weight_decay=0.2, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"beta1": 0.9, "beta2": 0.99},
)
RMSPROP = Optimizer(
    name="rmsprop",
    why="Adam's predecessor, used to train MobileNets and EfficientNets.",
    reference="https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
    build=build_rmsprop,
    recipe=Recipe(lr=1e-3, weight_decay=1e-5, schedule="cosine", warmup=0.1, label_smoothing=0.1),
    options={"alpha": 0.99, "momentum": 0.0, "eps": 1e-8},
)
