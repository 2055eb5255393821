"""Sorts a net's parameters by what an optimizer may do to them."""

from dataclasses import dataclass

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


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups for a torch optimizer: weights with decay, biases, norms and tokens without."""
    parameters = sort(net)
    return [
        {"params": parameters.matrices + parameters.weights, "weight_decay": weight_decay},
        {"params": parameters.rest, "weight_decay": 0.0},
    ]
