"""MLP-Mixer S from timm, with patches of 4 x 4 pixels."""

from torch import nn

from architectures import Architecture, Spec

PATCH = 4


def build(spec: Spec) -> nn.Module:
    """512 channels, 8 blocks, MLPs of 256 over the patches and of 2048 over the channels."""
    from timm.models.mlp_mixer import MlpMixer  # slow to import, so only when a net is built

    spec.require_image_size("mlp_mixer_s4", at_least=2 * PATCH, multiple_of=PATCH)
    net: nn.Module = MlpMixer(
        num_classes=spec.classes,
        img_size=spec.image_size,
        in_chans=spec.channels,
        patch_size=PATCH,
        num_blocks=8,
        embed_dim=spec.scaled(512),
        mlp_ratio=(0.5, 4.0),
    )
    return net


MLP_MIXER_S4 = Architecture(
    name="mlp_mixer_s4",
    why="Only linear layers, over patches and over channels: mostly matrix products.",
    reference="https://arxiv.org/abs/2105.01601, Mixer-S, patch 4",
    build=build,
    parameters=17_110_026,
    flops=2_419_075_072,
)
