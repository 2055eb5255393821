"""The standard augmentation with two random ops at a fixed strength."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, HorizontalFlip, RandAugment

randaugment = Augmentation(
    name="randaugment",
    why="two random strong changes at one strength: two parameters instead of a search",
    reference="Cubuk et al. 2019, arXiv:1909.13719 (two ops at 9 of 30, torchvision's defaults)",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), RandAugment(n=2, magnitude=9)],
)
