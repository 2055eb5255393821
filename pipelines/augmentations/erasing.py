"""The standard augmentation with a hidden rectangle of any size."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, HorizontalFlip, RandomErasing

erasing = Augmentation(
    name="erasing",
    why="cutout with random size, shape and presence, as recipes for transformers use",
    reference="Zhong et al. 2017, arXiv:1708.04896",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), RandomErasing(p=0.5)],
)
