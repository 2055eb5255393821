"""ViT-tiny from timm, with patches of 4 x 4 pixels."""

from torch import nn

from architectures import Architecture, Spec

PATCH = 4
HEAD_CHANNELS = 64


def build(spec: Spec) -> nn.Module:
    """192 channels, 12 blocks, 3 heads of 64 channels, a class token, learned positions.

    The width scales channels and heads, so that heads keep 64 channels where possible.
    """
    from timm.models.vision_transformer import VisionTransformer  # slow to import

    spec.require_image_size("vit_tiny", at_least=2 * PATCH, multiple_of=PATCH)
    heads = max(1, round(192 * spec.width / HEAD_CHANNELS))
    net: nn.Module = VisionTransformer(
        img_size=spec.image_size,
        patch_size=PATCH,
        in_chans=spec.channels,
        num_classes=spec.classes,
        embed_dim=spec.scaled(192, multiple=8 * heads),
        depth=12,
        num_heads=heads,
    )
    return net


VIT_TINY = Architecture(
    name="vit_tiny",
    why="Attention without convolutions: slow to learn from few images, fast per image on a GPU.",
    reference="https://arxiv.org/abs/2010.11929, https://arxiv.org/abs/2012.12877 (tiny), patch 4",
    build=build,
    parameters=5_362_762,
    flops=730_215_168,
    default=True,
)
