"""Parameters that are trained during a part of a run: freezing and unfreezing."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from bench import optimizers
from bench.training.freezing import Freezing
from bench.training.setup import factors
from tests.made_optimizers import built, made_step, make_net

STEPS = 10


def made_net(share: float = 0.25) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.GELU(), nn.Linear(4, 3))
    net[1].weight.requires_grad_(False)
    net[1].bias.trained_for = share
    return net


@pytest.mark.parametrize(("share", "end"), [(0.25, 3), (0.3, 3), (0.75, 8)])
def test_a_parameter_changes_only_during_its_share_of_the_run(share: float, end: int) -> None:
    net = made_net(share)
    step = made_step(net, "sgd", steps=STEPS)
    bias = net[1].bias
    seen = [bias.detach().clone()]
    for _ in range(STEPS):
        step(torch.randn(5, 3, 2, 2), torch.randint(3, (5,)))
        seen.append(bias.detach().clone())
    moved = [not torch.equal(*pair) for pair in pairwise(seen)]
    assert moved == [number < end for number in range(STEPS)]
    assert not bias.requires_grad
    made_step(net, "sgd", steps=STEPS)
    assert bias.requires_grad
    assert not net[1].weight.requires_grad, "what was never trained stays so"


def test_go_to_midpoint_sets_the_state_of_the_middle_of_the_run() -> None:
    for share, trains in ((0.25, False), (0.75, True)):
        net = made_net(share)
        freezing = Freezing(net, STEPS)
        freezing.go_to_midpoint()
        assert net[1].bias.requires_grad == trains
    assert Freezing(nn.Linear(2, 2), STEPS).changes == []


def test_an_early_frozen_group_has_a_shorter_schedule() -> None:
    net = make_net("airnet94")
    recipe = optimizers.catalog.get("sgd").default_recipe(128)
    optimizer = built("sgd", net)
    shares = [group.get("trained_for", 1.0) for group in optimizer.param_groups]
    assert sorted(shares) == [3 / 8, 1.0, 1.0]
    for share, factor in zip(shares, factors(optimizer, recipe, 80), strict=True):
        assert factor(80) == pytest.approx(0.0)
        assert (factor(31) > 0) == (share == 1.0)
        assert factor(round(80 * share * recipe.warmup)) == pytest.approx(1.0)
