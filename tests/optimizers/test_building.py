"""How a net's parameters are sorted for optimizers."""

import pytest
import torch
from torch import nn

from bench.optimizers import _building as parameters
from tests.made_optimizers import make_net, trained


@pytest.mark.parametrize(
    ("net_name", "first", "last"),
    [
        ("resnet18", "stem.0.weight", "head.2.weight"),
        ("mobilenetv2", "features.0.0.weight", "classifier.1.weight"),
        ("convmixer", "stem.0.weight", "head.weight"),
        ("vit_tiny", "patch_embed.proj.weight", "head.weight"),
        ("airnet94", "whiten.weight", "head.weight"),
    ],
)
def test_matrices_are_hidden_and_mix_their_inputs(net_name: str, first: str, last: str) -> None:
    net = make_net(net_name)
    names = {id(parameter): key for key, parameter in net.named_parameters()}
    found = parameters.split_parameters(net)
    layers = {
        f"{key}.weight": module
        for key, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    depthwise = {key for key, module in layers.items() if getattr(module, "groups", 1) > 1}
    assert {names[id(p)] for p in found.matrices} == set(layers) - depthwise - {first, last}
    assert bool(depthwise) == (net_name in {"mobilenetv2", "convmixer"})
    assert [names[id(p)] for p in found.head] == [last]
    all_lists = found.matrices + found.weights + found.rest
    assert sorted(map(id, all_lists)) == sorted(map(id, trained(net)))


def test_parameters_that_a_net_exempts_have_no_weight_decay() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.table = nn.Linear(3, 4), nn.Parameter(torch.zeros(9, 2))
            self.hidden, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def no_weight_decay(self) -> set[str]:
            return {"table"}

    net = Net()
    found = parameters.split_parameters(net)
    assert [id(p) for p in found.matrices] == [id(net.hidden.weight)]
    assert id(net.table) in {id(p) for p in found.rest}


def test_parameters_that_train_for_less_time_are_a_group_of_their_own() -> None:
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    other.trained_for = 0.5
    first, second = parameters.groups([one, other], lr=0.1)
    assert first == {"params": [one], "lr": 0.1}
    assert second == {"params": [other], "lr": 0.1, "trained_for": 0.5}
