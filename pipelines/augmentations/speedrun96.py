"""The augmentation of the 96 % speed record."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AlternatingFlip, Crop, Cutout

speedrun96 = Augmentation(
    name="speedrun96",
    why="used by the 96 % record: with more epochs larger shifts and cutout help",
    reference="https://github.com/KellerJordan/cifar10-airbench (airbench96_faster)",
    ops=[AlternatingFlip(), Crop(pad=4, padding="reflect"), Cutout(size=12)],
)
