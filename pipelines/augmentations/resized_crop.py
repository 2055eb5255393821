"""The augmentation of ImageNet training, mild enough for small images."""

from pipelines.augmentations import Augmentation
from pipelines.ops import HorizontalFlip, RandomResizedCrop

resized_crop = Augmentation(
    name="resized_crop",
    why="what larger images are trained with: objects at many sizes and shapes",
    reference="Szegedy et al. 2015, arXiv:1409.4842; area from 0.35 on for 32 pixels",
    ops=[RandomResizedCrop(scale=(0.35, 1.0)), HorizontalFlip(p=0.5)],
)
