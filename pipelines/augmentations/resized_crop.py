"""The augmentation of ImageNet training, mild enough for small images."""

from pipelines.augmentations import Augmentation
from pipelines.ops import HorizontalFlip, RandomResizedCrop

resized_crop = Augmentation(
    name="resized_crop",
    why="the standard for larger images: objects at many sizes and aspect ratios",
    reference="Szegedy et al. 2015, arXiv:1409.4842; areas from 0.35 for 32 pixels",
    ops=[RandomResizedCrop(scale=(0.35, 1.0)), HorizontalFlip(p=0.5)],
)
