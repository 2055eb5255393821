"""`timm:NAME` and `torchvision:NAME`: fit for small images, or refused in one sentence."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import architectures
from architectures import Unfit
from bench.executors.worker import status_of
from bench.grid import registry
from bench.grid.grids import BUDGETS, GridConfig
from bench.grid.options import RunOptions
from bench.grid.plan import choose_cells
from pipelines.catalog import UnknownName

SMALL = ["timm:test_resnet", "timm:test_convnext", "torchvision:shufflenet_v2_x0_5"]


def shapes(name: str, *, size: int = 32, channels: int = 3) -> list[tuple[int, ...]]:
    """Height and width after each convolution of the net, without repeats, in order."""
    found: dict[tuple[int, ...], None] = {}
    with torch.device("meta"):
        net = architectures.build(name, image_size=size, channels=channels)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(
                    lambda _layer, _given, made: found.setdefault(tuple(made.shape[2:]))
                )
        net(torch.empty(2, channels, size, size))
    return list(found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm:resnet10t", [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ("timm:repvgg_a0", [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]),  # two stems side by side
        ("timm:dla34", [(2**i, 2**i) for i in (5, 4, 3, 2, 1, 0)]),  # its pool is no stem's
        ("timm:vit_tiny_patch16_224", [(8, 8)]),
        ("timm:mixer_s16_224", [(8, 8)]),  # its builder fixes the patch size
        ("timm:convnext_atto", [(16, 16), (8, 8), (4, 4), (2, 2)]),
        ("timm:swin_tiny_patch4_window7_224", [(8, 8)]),
        ("torchvision:resnet18", [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ("torchvision:vgg11", [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]),  # as it is
    ],
)
def test_stems_are_fit_for_small_images(name: str, expected: list[tuple[int, ...]]) -> None:
    assert shapes(name) == expected


def test_larger_images_meet_the_net_as_it_is() -> None:
    assert shapes("torchvision:resnet18", size=64)[0] == (64, 64)
    assert shapes("torchvision:resnet18", size=96)[0] == (48, 48)
    assert shapes("timm:vit_tiny_patch16_224", size=96) == [(6, 6)]
    assert shapes("torchvision:vit_b_16", size=96) == [(6, 6)]


@pytest.mark.parametrize(("name", "channels"), [(SMALL[0], 1), *((name, 3) for name in SMALL)])
def test_nets_of_the_zoo_train_and_depend_on_the_seed(name: str, channels: int) -> None:
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(architectures.build(name, classes=7, channels=channels))
    first, again, other = ([*net.parameters()] for net in nets)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    net = nets[0]
    assert net.training
    draws = torch.Generator().manual_seed(0)
    x_BCHW = torch.randn(4, channels, 32, 32, generator=draws)
    logits_BK = net(x_BCHW)
    assert logits_BK.shape == (4, 7)
    F.cross_entropy(logits_BK, torch.arange(4)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in first)


def test_building_leaves_the_running_statistics_fresh() -> None:
    net = architectures.build("timm:test_resnet")
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == 0 for norm in norms)


@pytest.mark.parametrize("name", ["torchvision:googlenet", "torchvision:inception_v3"])
def test_auxiliary_heads_are_left_out(name: str) -> None:
    with torch.device("meta"):
        net = architectures.build(name).train()
        assert net(torch.empty(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("timm:test_resnet", {"width": 0.5}, "has no width multiplier: its width is 1.0, got 0.5"),
        ("timm:crossvit_tiny_240", {}, "cannot take images of 32 x 32 pixels: "),
        ("torchvision:maxvit_t", {}, "cannot take images of 32 x 32 pixels: Input size"),
        ("torchvision:vit_b_16", {"image_size": 30}, "cannot take images of 30 x 30 pixels: all"),
    ],
)
def test_an_unfit_net_is_refused(name: str, changes: dict[str, float], message: str) -> None:
    with (
        torch.device("meta"),
        pytest.raises(Unfit, match=f"^{re.escape(f'{name} {message}')}.*$") as error,
    ):
        architectures.build(name, **changes)
    assert "\n" not in str(error.value)
    assert status_of(error.value) == "skipped"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm:resnet10x", "did you mean timm:resnet10t"),
        ("timm:resnet18.a1_in1k", "did you mean timm:resnet18 "),
        ("torchvision:resnet19", "did you mean torchvision:resnet18"),
        ("torchvision:fcn_resnet50", "unknown architecture"),  # segments, does not classify
        ("keras:resnet50", "did you mean resnet50"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=near) as error:
        architectures.get(name)
    assert len(str(error.value)) < 1000


def test_cells_with_nets_of_the_zoo_have_width_one_at_every_scale() -> None:
    config = GridConfig(base=replace(BUDGETS["cpu"], source="shapes", device="cpu"))
    assert config.cell("resnet18", "sgd", "none", "native").width == 0.125
    options = RunOptions(grid="smoke", architecture="timm:test_resnet", select="native")
    (cell,) = choose_cells(options, config)
    assert (cell.architecture, cell.width) == ("timm:test_resnet", 1.0)
    assert registry.problem(cell) is None
    assert registry.versions(cell)["architecture"] == 1
