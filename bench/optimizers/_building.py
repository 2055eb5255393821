"""Shared by the optimizers: parameter groups and timm's classes."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The trainable parameters of a net, each in exactly one of `matrices`, `weights` and `rest`.

    Args:
        matrices: Weights between hidden channels that mix all their inputs: linear layers and
            convolutions, without the first and the last layer.
        weights: The other weights: first layer, last layer, depthwise convolutions.
        head: The last layer's weight, which is also in `weights`; empty if it is frozen.
        rest: Biases, norms, class tokens and position embeddings, which should not decay.
    """

    matrices: "list[nn.Parameter]"
    weights: "list[nn.Parameter]"
    head: "list[nn.Parameter]"
    rest: "list[nn.Parameter]"


def split_parameters(net: "nn.Module") -> Parameters:
    """Classifies parameters by shape and by the order in which the net defines its layers.

    A first layer that is not trained (whitening) still counts as the first layer.
    """
    exempt_names: Callable[[], Iterable[str]] = getattr(net, "no_weight_decay", tuple)
    exempt = set(exempt_names())  # timm's nets list parameters without decay, such as positions
    layers = [p for name, p in net.named_parameters() if is_weight(p) and name not in exempt]
    hidden = {id(p) for p in layers[1:-1] if p.shape[1] > 1}
    outer = {id(p) for p in layers} - hidden
    trainable = [p for p in net.parameters() if p.requires_grad]
    return Parameters(
        matrices=[p for p in trainable if id(p) in hidden],
        weights=[p for p in trainable if id(p) in outer],
        head=[p for p in layers[-1:] if p.requires_grad],
        rest=[p for p in trainable if id(p) not in hidden | outer],
    )


def is_weight(parameter: "Tensor") -> bool:
    """Whether it multiplies activations and mixes them.

    Tokens and position embeddings have a leading 1, scales one value for each channel.
    """
    return parameter.ndim >= 2 and 1 < parameter.shape[0] < parameter.numel()


def groups(parameters: "Iterable[nn.Parameter]", **settings: object) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: one, or more if some parameters are frozen during the run.

    The attribute `trained_for` of a parameter is the share of the run after which it is frozen;
    the group's key of that name passes it to the schedule.
    """
    by_share: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_share.setdefault(getattr(parameter, "trained_for", 1.0), []).append(parameter)
    return [
        {"params": members, **settings} | ({"trained_for": share} if share < 1.0 else {})
        for share, members in by_share.items()
    ]


def decay_groups(net: "nn.Module", weight_decay: float, **rest: object) -> list[dict[str, Any]]:
    """Groups for torch: weights with decay; biases, norms and tokens without, but with `rest`."""
    parameters = split_parameters(net)
    return [
        *groups(parameters.matrices + parameters.weights, weight_decay=weight_decay),
        *groups(parameters.rest, weight_decay=0.0, **rest),
    ]


def timm_optimizer(name: str) -> "Callable[..., Optimizer]":
    """timm's optimizer class `name`, imported late because that takes seconds.

    The import raises torch.compile's limit on recompilations, which is restored here.
    """
    from torch._dynamo import config  # slow to import

    limit = config.recompile_limit
    try:
        module = importlib.import_module(f"timm.optim.{name.lower()}")
        return getattr(module, name)  # type: ignore[no-any-return]
    finally:
        config.recompile_limit = limit
