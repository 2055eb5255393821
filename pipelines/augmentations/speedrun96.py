"""The augmentation of the 96 % speed record."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AlternatingFlip, Crop, Cutout

speedrun96 = Augmentation(
    name="speedrun96",
    why="what the 96 % record trains with: more epochs bear larger moves and a hidden square",
    reference="https://github.com/KellerJordan/cifar10-airbench (airbench96_faster)",
    ops=[AlternatingFlip(), Crop(pad=4, padding="reflect"), Cutout(size=12)],
)
