"""The standard augmentation with a hidden square."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, Cutout, HorizontalFlip

flip_crop_cutout = Augmentation(
    name="flip_crop_cutout",
    why="hides part of the object, so that a net cannot rely on one detail; pays on long runs",
    reference="DeVries and Taylor 2017, arXiv:1708.04552",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), Cutout(size=8)],
    default=True,
)
