"""The standard augmentation with blended pairs."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, HorizontalFlip, MixUp

mixup = Augmentation(
    name="mixup",
    why="blends images and labels: better calibrated, and pays on long runs",
    reference="Zhang et al. 2017, arXiv:1710.09412",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), MixUp(alpha=0.2)],
)
