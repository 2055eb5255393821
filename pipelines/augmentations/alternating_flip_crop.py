"""The speed records' augmentation: the flip takes turns instead of chances."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AlternatingFlip, Crop

alternating_flip_crop = Augmentation(
    name="alternating_flip_crop",
    why="flip_crop without wasted chances: every two epochs show both orientations of each image",
    reference="Jordan 2024, arXiv:2404.00498",
    ops=[AlternatingFlip(), Crop(pad=4, padding="reflect")],
)
