"""`timm:NAME` and `torchvision:NAME`: any of their classification nets, adapted to small images.

For images of up to 64 pixels, the first strided convolution gets stride 1 and the first max-pool is
removed, or patches get smaller. For larger images the model isn't changed.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from architectures import Architecture, Spec, Unfit
from pipelines.catalog import Unavailable, UnknownName

SMALL = 64  # pixels per side up to which the stem is changed
PATCH = 4  # pixels per side of a patch: 8 x 8 tokens at 32 pixels
HIERARCHICAL_PATCH = 2  # if later stages downsample further, as in our ConvNeXt
REFERENCES = {
    "timm": "https://github.com/huggingface/pytorch-image-models",
    "torchvision": "https://docs.pytorch.org/vision/stable/models.html",
}
AUXILIARY_HEADS = ("googlenet", "inception_v3")


def is_from_zoo(name: str) -> bool:
    """Whether `name` is of the form LIBRARY:NAME."""
    library, colon, _ = name.partition(":")
    return bool(colon) and library in REFERENCES


@cache
def get(name: str) -> Architecture:
    """The entry for LIBRARY:NAME.

    Raises:
        UnknownName: The library has no such model.
        Unavailable: The library can't be imported.
    """
    library, _, model = name.partition(":")
    known = names(library)
    if model not in known:
        near = difflib.get_close_matches(model.partition(".")[0], known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(f'{library}:{name}' for name in near)}? " if near else ""
        raise UnknownName(
            f"unknown architecture {name!r}: {hint}"
            f"{library}'s list_models() names all {len(known)} of its models"
        )
    return Architecture(
        name=name,
        why=f"{library}'s {model}, with a stem for small images.",
        reference=REFERENCES[library],
        build=partial(build, library, model),
        parameters=0,
        scales=False,
    )


@cache
def names(library: str) -> list[str]:
    """The classification models of a library.

    Raises:
        Unavailable: It can't be imported.
    """
    try:
        if library == "timm":
            import timm

            return list(timm.list_models())
        from torchvision import models

        return list(models.list_models(module=models))
    except ImportError as error:
        raise Unavailable(f"{library}'s models cannot be used here: {error}") from error


def build(library: str, model: str, spec: Spec) -> nn.Module:
    """A net with fresh weights, from the first adaptation that returns logits.

    Raises:
        Unfit: No adaptation returns logits, or the width isn't 1.
    """
    name = f"{library}:{model}"
    if spec.width != 1.0:
        raise Unfit(f"{name} has no width multiplier: its width is 1.0, got {spec.width}")
    draws = torch.get_rng_state()
    reason = ""
    adaptations = timm_adaptations if library == "timm" else torchvision_adaptations
    for create in adaptations(model, spec):
        torch.set_rng_state(draws)  # the weights must not depend on failed attempts
        try:
            net: nn.Module = create()
            check(net, spec)
        except Exception as error:  # noqa: BLE001 - libraries raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        else:
            return net
    size = f"{spec.image_size} x {spec.image_size}"
    raise Unfit(f"{name} cannot take images of {size} pixels: {reason}")


def check(net: nn.Module, spec: Spec) -> None:
    """Runs the net on an empty image, in evaluation mode.

    Raises:
        ValueError: Its outputs aren't logits. Errors of the net are passed on.
    """
    net.eval()
    with torch.no_grad():
        output = net(torch.zeros(1, spec.channels, spec.image_size, spec.image_size))
    net.train()
    shape = tuple(getattr(output, "shape", ()))
    if shape != (1, spec.classes):
        raise ValueError(f"it gives {shape or type(output).__name__} instead of logits")


def timm_adaptations(model: str, spec: Spec) -> Iterator[Callable[[], nn.Module]]:
    """Functions that create a timm model, best adaptation first."""
    import timm

    config = timm.models.get_pretrained_cfg(model)
    first = getattr(config, "first_conv", None) or ()
    stems = (first,) if isinstance(first, str) else tuple(first)
    create = partial(timm.create_model, model, in_chans=spec.channels, num_classes=spec.classes)
    size = spec.image_size
    if getattr(config, "fixed_input_size", False):
        if size <= SMALL:
            yield partial(create, img_size=size, patch_size=PATCH)
            yield lambda: with_small_timm_patches(create, size)
            # Halving the stem's stride feeds the rest as an image of twice the size would.
            yield lambda: with_small_stem(create(img_size=2 * size), stems, drop_pool=False)
        else:
            yield partial(create, img_size=size)
        return
    if size <= SMALL:
        yield lambda: with_small_stem(create(), stems, drop_pool=True)
        yield lambda: with_small_stem(create(), stems, drop_pool=False)
    else:
        yield create


def torchvision_adaptations(model: str, spec: Spec) -> Iterator[Callable[[], nn.Module]]:
    """Functions that create a torchvision model, best adaptation first."""
    from torchvision import models

    options: dict[str, Any] = {"num_classes": spec.classes}
    if model in AUXILIARY_HEADS:
        options |= {"aux_logits": False, "init_weights": True}
    size = spec.image_size
    if model.startswith("maxvit"):
        options["input_size"] = (size, size)
    if model.startswith("vit_") and size > SMALL:
        options["image_size"] = size

    def create() -> nn.Module:
        net: nn.Module = models.get_model(model, weights=None, **options)
        if spec.channels != 3:
            path, conv = next(convolutions(net))
            net.set_submodule(path, conv_like(conv, channels=spec.channels))
        return net

    if size > SMALL:
        yield create
    elif model.startswith("vit_"):
        yield lambda: with_small_patches(create(), size)
    else:
        yield lambda: with_small_stem(create(), (), drop_pool=True)
        yield lambda: with_small_stem(create(), (), drop_pool=False)


def with_small_stem(net: nn.Module, stems: Sequence[str], *, drop_pool: bool) -> nn.Module:
    """The net with less stride in its stem, changed in place.

    Args:
        stems: Paths of its parallel first convolutions; if empty, the first strided one.
        drop_pool: Whether the first max-pool is removed too, if there is a strided convolution.
    """
    named = dict(convolutions(net))
    strided = [path for path in stems if path in named and named[path].stride[0] > 1]
    if not strided:
        strided = [path for path, conv in named.items() if conv.stride[0] > 1][:1]
    for path in strided:
        conv = named[path]
        if conv.kernel_size[0] > conv.stride[0] or conv.kernel_size[0] == 1:
            conv.stride = (1, 1)
            continue
        others = (other for other in named.values() if other is not conv)
        later = any(other.stride[0] > 1 for other in others)
        net.set_submodule(path, conv_like(conv, patch=HIERARCHICAL_PATCH if later else PATCH))
    if strided and drop_pool:
        for path, module in net.named_modules():
            if isinstance(module, nn.MaxPool2d) and module.stride not in (1, (1, 1)):
                net.set_submodule(path, nn.Identity())
                break
    return net


def with_small_timm_patches(create: Callable[..., nn.Module], size: int) -> nn.Module:
    """A timm net with a fixed patch size: the same number of tokens, from smaller patches.

    Raises:
        ValueError: Its patches aren't a plain convolution.
    """
    with torch.device("meta"):
        (default,) = patches_of(create()).patch_size[:1]
    net = create(img_size=size * default // PATCH)
    patches = patches_of(net)
    patches.proj = conv_like(patches.proj, patch=PATCH)
    vars(patches).update(img_size=(size, size), patch_size=(PATCH, PATCH))
    return net


def patches_of(net: nn.Module) -> Any:
    """The `PatchEmbed` of a timm net; raises ValueError if it has none."""
    from timm.layers import PatchEmbed

    for module in net.children():
        if isinstance(module, PatchEmbed):
            return module
    raise ValueError("it has no patches that could be made smaller")


def with_small_patches(net: nn.Module, size: int) -> nn.Module:
    """torchvision's VisionTransformer for images of `size` pixels, changed in place.

    Raises:
        ValueError: The size is not a multiple of the patch size.
    """
    if size % PATCH:
        raise ValueError(f"allowed are multiples of {PATCH}")
    conv = net.get_submodule("conv_proj")
    assert isinstance(conv, nn.Conv2d)
    small = conv_like(conv, patch=PATCH)
    nn.init.trunc_normal_(small.weight, std=math.sqrt(1 / small.weight[0].numel()))
    assert small.bias is not None
    nn.init.zeros_(small.bias)
    net.set_submodule("conv_proj", small)
    tokens = (size // PATCH) ** 2 + 1
    vars(net).update(image_size=size, patch_size=PATCH, seq_length=tokens)
    positions = torch.empty(1, tokens, small.out_channels).normal_(std=0.02)
    net.get_submodule("encoder").register_parameter("pos_embedding", nn.Parameter(positions))
    return net


def convolutions(net: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Path and convolution, in the order of definition."""
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            yield path, module


def conv_like(
    conv: nn.Conv2d, *, channels: int | None = None, patch: int | None = None
) -> nn.Conv2d:
    """A new convolution like another one, with other input channels or a smaller patch."""
    return nn.Conv2d(
        channels or conv.in_channels,
        conv.out_channels,
        patch or conv.kernel_size,  # type: ignore[arg-type]
        stride=patch or conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
