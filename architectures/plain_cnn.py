"""Plain convolutional nets of two, four, six and eight 3x3 convolutions."""

from functools import partial

from torch import nn

from architectures import Architecture, Spec
from architectures._layers import POOL, plain_net

LAYERS = {
    "cnn2": (64, POOL, 128, POOL),
    "cnn4": (64, POOL, 128, POOL, 256, 256, POOL),
    "cnn6": (64, 64, POOL, 128, 128, POOL, 256, 256, POOL),
    "cnn8": (64, 64, POOL, 128, 128, POOL, 256, 256, POOL, 512, 512, POOL),
}


def build(name: str, spec: Spec) -> nn.Module:
    """The net called `name`: 3x3 convolutions and pools as in `LAYERS`."""
    return plain_net(name, LAYERS[name], spec)


CNN2 = Architecture(
    name="cnn2",
    why="Two convolutions: the minimum that every other net should beat.",
    reference="The layer order of https://arxiv.org/abs/1502.03167, cut to two convolutions",
    build=partial(build, "cnn2"),
    parameters=77_130,
    flops=41_290_240,
    bf16_on_cpu=True,
)
CNN4 = Architecture(
    name="cnn4",
    why="Four convolutions: typical of a first experiment, and fast everywhere.",
    reference="The layer order of https://arxiv.org/abs/1502.03167, in four convolutions",
    build=partial(build, "cnn4"),
    parameters=964_170,
    flops=154_539_008,
    default=True,
    bf16_on_cpu=True,
)
CNN6 = Architecture(
    name="cnn6",
    why="Six convolutions: shows what depth gives without shortcuts.",
    reference="The layer order of https://arxiv.org/abs/1502.03167, in six convolutions",
    build=partial(build, "cnn6"),
    parameters=1_148_874,
    flops=305_533_952,
    default=True,
    bf16_on_cpu=True,
)
CNN8 = Architecture(
    name="cnn8",
    why="Eight convolutions: shows whether a plain net still gains from depth.",
    reference="The layer order of https://arxiv.org/abs/1502.03167, in eight convolutions",
    build=partial(build, "cnn8"),
    parameters=4_692_426,
    flops=418_785_280,
    bf16_on_cpu=True,
)
