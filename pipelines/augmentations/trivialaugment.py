"""The standard augmentation with one random op at a random strength."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, HorizontalFlip, TrivialAugment

trivialaugment = Augmentation(
    name="trivialaugment",
    why="one random change at a random strength: nothing to tune, and hard to beat on long runs",
    reference="Mueller and Hutter 2021, arXiv:2103.10158",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), TrivialAugment()],
)
