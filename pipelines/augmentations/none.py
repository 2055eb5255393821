"""No augmentation: what the others are measured against."""

from pipelines.augmentations import Augmentation

none = Augmentation(
    name="none",
    why="the baseline: what a net reaches on the images as they are, and how soon it overfits",
    ops=[],
    default=True,
)
