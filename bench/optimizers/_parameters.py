"""Sorts a net's parameters by what an optimizer may do to them."""

from collections.abc import Iterable
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
        rest: Biases, norms, class tokens and position embeddings, which weight decay only harms.
    """

    matrices: list[nn.Parameter]
    weights: list[nn.Parameter]
    rest: list[nn.Parameter]


def sort(net: nn.Module) -> Parameters:
    """Sorts by shape and by the order in which the net defines its layers."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if is_weight(parameter)]
    hidden = [parameter for parameter in decayed[1:-1] if parameter.shape[1] > 1]
    chosen = {id(parameter) for parameter in hidden}
    return Parameters(
        matrices=hidden,
        weights=[parameter for parameter in decayed if id(parameter) not in chosen],
        rest=[parameter for parameter in trainable if not is_weight(parameter)],
    )


def is_weight(parameter: Tensor) -> bool:
    """Whether it multiplies activations; tokens and position embeddings have a leading 1."""
    return parameter.ndim >= 2 and parameter.shape[0] > 1


def in_order(net: nn.Module, chosen: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The chosen parameters in the order in which the net defines them."""
    wanted = {id(parameter) for parameter in chosen}
    return [parameter for parameter in net.parameters() if id(parameter) in wanted]


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
