"""The augmentation of the 94 % speed record."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AlternatingFlip, Crop

speedrun94 = Augmentation(
    name="speedrun94",
    why="used by the 94 % record: with few epochs only small shifts help",
    reference="https://github.com/KellerJordan/cifar10-airbench (airbench94_muon)",
    ops=[AlternatingFlip(), Crop(pad=2, padding="reflect")],
)
