"""Small rotations, shifts and changes of scale."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Affine, HorizontalFlip

affine = Augmentation(
    name="affine",
    why="rotates and scales as well as shifts, at the price of a bilinear blur",
    reference="LeCun et al. 1998, with a flip",
    ops=[HorizontalFlip(p=0.5), Affine(degrees=15.0, translate=0.1, scale=(0.9, 1.1))],
)
