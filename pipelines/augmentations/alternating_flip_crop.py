"""The speed records' augmentation: flips alternate between epochs instead of being random."""

from pipelines.augmentations import Augmentation
from pipelines.ops import AlternatingFlip, Crop

alternating_flip_crop = Augmentation(
    name="alternating_flip_crop",
    why="flip_crop without random repeats: every two epochs show both orientations of each image",
    reference="Jordan 2024, arXiv:2404.00498",
    ops=[AlternatingFlip(), Crop(pad=4, padding="reflect")],
)
