"""Parameters and multiplications of every architecture: counted, and as published."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import architectures

NAMES = list(architectures.catalog.entries)

# Parameters with 1000 classes for ImageNet, as torchvision and timm document them, and how many
# fewer the net has here: in a head of ten classes, and in a stem for small images.
IMAGENET = {
    "resnet18": (11_689_512, 990 * 513 + 64 * 3 * (7**2 - 3**2)),
    "resnet34": (21_797_672, 990 * 513 + 64 * 3 * (7**2 - 3**2)),
    "resnet50": (25_557_032, 990 * 2049 + 64 * 3 * (7**2 - 3**2)),
    "densenet121": (7_978_856, 990 * 1025 + 64 * 3 * (7**2 - 3**2)),
    "mobilenetv2": (3_504_872, 990 * 1281),
    "shufflenetv2": (2_278_604, 990 * 1025),
    "efficientnet_b0": (5_288_548, 990 * 1281),
    "regnetx_200mf": (2_684_792, 990 * 369),
    "convnext_tiny": (28_589_128, 990 * 769 + 96 * 3 * (4**2 - 2**2)),
    # Patches of 4 instead of 16, and 65 places instead of 197.
    "vit_tiny": (5_717_416, 990 * 193 + 192 * 3 * (16**2 - 4**2) + 192 * (197 - 65)),
    # Likewise, and 8 token mixers over 64 patches instead of 196.
    "mlp_mixer_s4": (
        18_528_264,
        990 * 513 + 512 * 3 * (16**2 - 4**2) + 8 * (196 - 64) * (2 * 256 + 1),
    ),
}

# Millions for CIFAR-10, by the papers and by the tables of CIFAR ports.
CIFAR10 = {
    "vgg11_bn": "9.23",
    "vgg16_bn": "14.73",
    "resnet18": "11.17",
    "resnet34": "21.28",
    "resnet50": "23.52",
    "preact_resnet18": "11.17",
    "resnext29_2x64d": "9.13",
    "densenet121": "6.96",
    "shufflenetv2": "1.26",
    "regnetx_200mf": "2.32",
    "resnet20": "0.27",
    "resnet56": "0.85",
    "wrn16_8": "11.0",
    "wrn28_10": "36.5",
    "wrn40_4": "8.9",
    "resnet9": "6.57",
    "convmixer": "0.59",
    "airnet94": "1.97",
}

# Giga multiply-adds of one image of 32 x 32, by the tables of CIFAR ports.
GIGA_MULTIPLY_ADDS = {
    "vgg16_bn": 0.3137,
    "resnet18": 0.56,
    "resnet34": 1.16,
    "resnet50": 1.30,
    "preact_resnet18": 0.56,
    "densenet121": 0.90,
    "resnet20": 0.0408,
    "resnet56": 0.1257,
    "wrn28_10": 5.25,
}

# The same for ImageNet at 224 pixels, by torchvision's tables, and how many times fewer places
# each layer sees here (the head, which sees one, is below a percent).
GIGA_MULTIPLY_ADDS_224 = {
    "convnext_tiny": (4.456, (224 / 4) ** 2 / (32 / 2) ** 2),
}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_flops_are_those_that_are_stated(name: str) -> None:
    entry = architectures.catalog.get(name)
    with torch.device("meta"):
        net = architectures.build(name).eval()
        x_BCHW = torch.empty(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x_BCHW)
    trainable = (parameter for parameter in net.parameters() if parameter.requires_grad)
    assert entry.parameters == sum(parameter.numel() for parameter in trainable)
    assert entry.flops == counter.get_total_flops()


@pytest.mark.parametrize("name", IMAGENET)
def test_parameters_are_those_of_the_published_net_but_for_stem_and_head(name: str) -> None:
    published, fewer = IMAGENET[name]
    assert architectures.catalog.get(name).parameters == published - fewer


@pytest.mark.parametrize("name", CIFAR10)
def test_parameters_as_published_for_cifar10(name: str) -> None:
    published = CIFAR10[name]
    decimals = len(published.partition(".")[2])
    found = architectures.catalog.get(name).parameters / 1e6
    assert f"{found:.{decimals}f}" == published


@pytest.mark.parametrize("name", GIGA_MULTIPLY_ADDS)
def test_flops_as_published(name: str) -> None:
    found = architectures.catalog.get(name).flops / 2e9
    assert found == pytest.approx(GIGA_MULTIPLY_ADDS[name], rel=0.015)


@pytest.mark.parametrize("name", GIGA_MULTIPLY_ADDS_224)
def test_flops_as_published_for_larger_images(name: str) -> None:
    published, fewer_places = GIGA_MULTIPLY_ADDS_224[name]
    found = architectures.catalog.get(name).flops / 2e9
    assert found == pytest.approx(published / fewer_places, rel=0.015)
