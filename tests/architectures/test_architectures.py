"""Every architecture keeps the same promises, and has the published parameters and FLOPs."""

import re
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import architectures
from architectures import Architecture, Spec, Unfit
from pipelines.catalog import Origin
from tests import checkout

NAMES = list(architectures.catalog.entries)
DEFAULT_FIRST = [
    pytest.param(name, marks=() if entry.default else pytest.mark.slow)
    for name, entry in architectures.catalog.entries.items()
]
NARROW = 0.125
FROZEN = {"airnet94", "airnet96"}  # fixed whitening, norms without a scale of their own
ZERO_HEAD = {"mlp_mixer_s4"}  # as published: the first step moves the head alone


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


def make(name: str, *, seed: int = 0, width: float = NARROW, **spec: int) -> nn.Module:
    torch.manual_seed(seed)
    return architectures.build(name, width=width, **spec)


def images(*, batch: int = 4, channels: int = 3, size: int = 32, seed: int = 1) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, size, size, generator=draws)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def test_every_file_has_usable_entries_with_reason_and_reference() -> None:
    assert not architectures.catalog.broken
    assert len(NAMES) >= 28
    assert sum(entry.default for entry in architectures.catalog.entries.values()) >= 6
    for name, entry in architectures.catalog.entries.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert entry.why.endswith(".")
        assert "http" in entry.reference


@pytest.mark.parametrize("name", DEFAULT_FIRST)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 32, 100), (3, 64, 7)])
def test_logits_for_any_spec(name: str, channels: int, size: int, classes: int) -> None:
    net = make(name, channels=channels, image_size=size, classes=classes)
    logits_BK = net(images(batch=2, channels=channels, size=size))
    assert logits_BK.shape == (2, classes)
    assert logits_BK.dtype == torch.float32
    assert torch.isfinite(logits_BK).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    net = make(name)
    if name in ZERO_HEAD:
        nn.init.normal_(net.get_parameter("head.weight"), std=0.1)
    loss = F.cross_entropy(net(images(batch=8)), torch.arange(8))
    loss.backward()
    assert 1.0 < loss.item() < 6.0, "fresh logits should be near a uniform guess, ln 10 = 2.3"
    for key, parameter in net.named_parameters():
        if not parameter.requires_grad:
            assert name in FROZEN, key
            continue
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", DEFAULT_FIRST)
def test_the_seed_decides_and_weights_can_be_reloaded(name: str) -> None:
    first, again, other = make(name, seed=3), make(name, seed=3), make(name, seed=4)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    x_BCHW = images()
    first(x_BCHW)  # moves the running statistics
    assert not all(map(torch.equal, first.parameters(), other.parameters()))
    other.load_state_dict(first.state_dict())
    assert torch.equal(other.eval()(x_BCHW), first.eval()(x_BCHW))


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_stays_and_gives_the_same_logits(name: str) -> None:
    net = make(name).double()
    x_BCHW = images().double()
    expected_BK = net(x_BCHW)
    net = net.to(memory_format=torch.channels_last)
    lost: list[str] = []
    for layer_name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d):
            layer.register_forward_hook(partial(note_if_lost, lost, layer_name))
    found_BK = net(x_BCHW.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found_BK, expected_BK, rtol=1e-9, atol=1e-9)
    assert not lost


def note_if_lost(
    lost: list[str], name: str, layer: nn.Module, given: tuple[Tensor], made: Tensor
) -> None:
    """Notes a layer that gets or gives images whose channels are not next to each other."""
    for tensor in (*given, made):
        whole = tensor.is_contiguous(memory_format=torch.channels_last)
        if not whole and tensor.stride(1) != 1:  # a part of the channels is not contiguous
            lost.append(f"{name} {tuple(tensor.shape)}")


@pytest.mark.parametrize("name", DEFAULT_FIRST)
def test_bf16_trains_with_finite_numbers(name: str) -> None:
    net = make(name).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(net(images().to(memory_format=torch.channels_last)), torch.arange(4))
    loss.backward()
    assert torch.isfinite(loss)
    for key, parameter in net.named_parameters():
        assert parameter.dtype == torch.float32, key
        assert not parameter.requires_grad or torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", DEFAULT_FIRST)
def test_wider_means_more_parameters(name: str) -> None:
    with torch.device("meta"):
        counts = [count(architectures.build(name, width=w)) for w in (0.125, 0.5, 1.0, 1.5)]
    assert counts == sorted(set(counts))
    assert counts[1] < 0.75 * counts[2]


@pytest.mark.parametrize("name", DEFAULT_FIRST)
def test_compiles_in_one_graph(name: str) -> None:
    net = make(name)
    compiled = torch.compile(net, fullgraph=True, backend="eager", dynamic=False)
    x_BCHW = images(batch=2)
    torch.testing.assert_close(compiled(x_BCHW), net(x_BCHW), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["airnet94", "airnet96"])
def test_whitening_decorrelates_the_patches_of_images(name: str) -> None:
    draws = torch.Generator().manual_seed(0)
    images_NCHW = F.interpolate(torch.randn(40, 3, 16, 16, generator=draws), 32, mode="bilinear")
    net = make(name)
    whiten = net.get_submodule("whiten")
    assert isinstance(whiten, nn.Conv2d)
    bias = whiten.bias.clone()
    fit = architectures.catalog.get(name).fit
    assert fit is not None
    fit(net, images_NCHW)
    assert torch.equal(whiten.bias, bias)
    assert not whiten.weight.requires_grad
    with torch.no_grad():
        found_NCHW = F.conv2d(images_NCHW, whiten.weight)
    positive_NCHW, negative_NCHW = found_NCHW.chunk(2, dim=1)
    torch.testing.assert_close(negative_NCHW, -positive_NCHW)
    found_CP = positive_NCHW.transpose(0, 1).flatten(1)
    moment_CC = found_CP @ found_CP.T / found_CP.shape[1]
    torch.testing.assert_close(moment_CC, torch.eye(len(moment_CC)), rtol=0, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_net_takes_the_image_sizes_that_it_states_and_no_others(name: str) -> None:
    with pytest.raises(Unfit, match=f"^{name} cannot take images of 1 x 1 pixels") as refusal:
        architectures.build(name, image_size=1)
    stated = re.search(
        r"allowed are (?:multiples of (\d+)|sizes) from (\d+) up$", str(refusal.value)
    )
    assert stated
    multiple, smallest = int(stated[1] or 1), int(stated[2])
    assert smallest <= 32
    for size in (smallest, smallest + 5 * multiple):
        net = make(name, image_size=size)
        assert torch.isfinite(net(images(size=size))).all()
    for size in (smallest - 1, *([smallest + 1] if multiple > 1 else [])):
        with pytest.raises(Unfit, match=re.escape(stated[0])):
            architectures.build(name, image_size=size)


@given(channels=st.integers(1, 2048), width=st.floats(0.01, 15), multiple=st.sampled_from([8, 16]))
def test_scaled_channels_are_multiples(channels: int, width: float, multiple: int) -> None:
    scaled = Spec(width=width).scaled(channels, multiple=multiple)
    if width == 1.0:
        assert scaled == channels
        return
    assert scaled >= multiple
    assert scaled % multiple == 0
    assert abs(scaled - channels * width) <= max(multiple, channels * width / 2)
    if width + 0.001 != 1.0:  # where nothing is rounded up
        assert scaled <= Spec(width=width + 0.001).scaled(channels, multiple=multiple)


@pytest.mark.parametrize(
    "wrong", [{"classes": 1}, {"channels": 0}, {"width": 0.0}, {"width": 17.0}, {"image_size": 0}]
)
def test_spec_refuses_what_no_net_has(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a net needs"):
        architectures.build("cnn2", **wrong)


def test_listing_needs_no_timm_and_no_bench() -> None:
    code = (
        "import sys, architectures; architectures.catalog.entries; "
        "sys.exit(any(name in sys.modules for name in ('timm', 'bench')))"
    )
    assert checkout.python(code).returncode == 0


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
    # The same, and 8 token mixers over 64 patches instead of 196.
    "mlp_mixer_s4": (
        18_528_264,
        990 * 513 + 512 * 3 * (16**2 - 4**2) + 8 * (196 - 64) * (2 * 256 + 1),
    ),
}

# Millions for CIFAR-10, by the papers and by the tables of CIFAR ports, of the other nets.
CIFAR10 = {
    "vgg11_bn": "9.23", "vgg16_bn": "14.73", "preact_resnet18": "11.17", "resnext29_2x64d": "9.13",
    "resnet20": "0.27", "resnet56": "0.85", "wrn16_8": "11.0", "wrn28_10": "36.5",
    "wrn40_4": "8.9", "resnet9": "6.57", "convmixer": "0.59", "airnet94": "1.97",
}  # fmt: skip

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
    # Of torchvision's table for 224 pixels, where each layer sees 12.25 times as many places.
    "convnext_tiny": 4.456 / ((224 / 4) ** 2 / (32 / 2) ** 2),
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


def lazy_net(spec: Spec) -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(spec.classes)
    )


def test_lazy_modules_are_initialised_and_the_seed_decides_their_weights() -> None:
    entry = Architecture(
        name="lazy", why="a test", reference="-", build=lazy_net, parameters=1, flops=1
    )
    origin = Origin(name="mine.py", digest="0", place="/mine.py")
    architectures.catalog.register([entry], origin)
    try:
        nets = []
        for _ in range(2):
            torch.manual_seed(7)
            nets.append(architectures.build("lazy", image_size=9))
        shape = {"classes": 10, "image_size": 9, "channels": 3, "width": 1.0, "batch_size": 4}
        assert architectures.problem("lazy", **shape) == ""
    finally:
        architectures.catalog.unregister(origin)
    first, second = (net.state_dict() for net in nets)
    assert first["3.weight"].shape == (10, 8 * 7 * 7)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert nets[0].training
    assert not first["1.running_mean"].any(), "batch statistics are those of a fresh net"
