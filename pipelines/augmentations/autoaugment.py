"""The standard augmentation with searched pairs of ops and a hidden square."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AutoAugment, Crop, Cutout, HorizontalFlip

autoaugment = Augmentation(
    name="autoaugment",
    why="pairs of changes found by a search on CIFAR-10, and cutout: pays on long runs",
    reference="Cubuk et al. 2018, arXiv:1805.09501 (here with reflect padding)",
    ops=[
        Crop(pad=4, padding="reflect"),
        HorizontalFlip(p=0.5),
        AutoAugment(policy="cifar10"),
        Cutout(size=16),
    ],
)
