"""The standard CIFAR augmentation."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, HorizontalFlip

flip_crop = Augmentation(
    name="flip_crop",
    why="the standard since 2015: objects keep their class when mirrored or moved a few pixels",
    reference="He et al. 2015, arXiv:1512.03385 (with reflect padding, as the speed records use)",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5)],
    default=True,
)
