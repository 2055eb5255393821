"""The augmentation of the 94 % speed record."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AlternatingFlip, Crop

speedrun94 = Augmentation(
    name="speedrun94",
    why="what the 94 % record trains with: few epochs bear only small moves",
    reference="https://github.com/KellerJordan/cifar10-airbench (airbench94_muon)",
    ops=[AlternatingFlip(), Crop(pad=2, padding="reflect")],
)
