"""Sorts a net's parameters by what an optimizer may do to them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The trainable parameters of a net, each in exactly one list.

    Args:
        matrices: Weights between hidden channels that mix all their inputs: linear layers and
            convolutions, without the first and the last layer.
        weights: The other weights: first layer, last layer, depthwise convolutions.
        head: The one of `weights` that is the last layer's, if it is trained.
        rest: Biases, norms, class tokens and position embeddings, which weight decay only harms.
    """

    matrices: list[nn.Parameter]
    weights: list[nn.Parameter]
    head: list[nn.Parameter]
    rest: list[nn.Parameter]


def sort(net: nn.Module) -> Parameters:
    """Sorts by shape and by the order in which the net defines its layers.

    A first layer that is not trained (whitening) is the first layer all the same.
    """
    exempt = _exempt(net)
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


def is_weight(parameter: Tensor) -> bool:
    """Whether it multiplies activations and mixes them.

    Tokens and position embeddings have a leading 1, scales one value for each channel.
    """
    return parameter.ndim >= 2 and 1 < parameter.shape[0] < parameter.numel()


def _exempt(net: nn.Module) -> set[str]:
    """Names of what timm's nets say is no weight (tables of relative positions)."""
    names: Callable[[], Iterable[str]] | None = getattr(net, "no_weight_decay", None)
    return set(names()) if names is not None else set()


def groups(parameters: Iterable[nn.Parameter], **settings: object) -> list[dict[str, Any]]:
    """Groups for a torch optimizer with `settings`: one, or more where some train for less long.

    A net says so by the attribute `trained_for` of a parameter: the share of the run after which
    it stays as it is. The group's key of that name tells the schedule.
    """
    by_share: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_share.setdefault(getattr(parameter, "trained_for", 1.0), []).append(parameter)
    return [
        {"params": members, **settings} | ({"trained_for": share} if share < 1.0 else {})
        for share, members in by_share.items()
    ]


def decay_groups(net: nn.Module, weight_decay: float, **of_rest: object) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: weights with decay, biases, norms and tokens without.

    Args:
        net: Whose parameters are sorted.
        weight_decay: Of weights.
        of_rest: Other settings of biases, norms and tokens.
    """
    parameters = sort(net)
    return [
        *groups(parameters.matrices + parameters.weights, weight_decay=weight_decay),
        *groups(parameters.rest, weight_decay=0.0, **of_rest),
    ]
