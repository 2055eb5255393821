"""No augmentation, the baseline."""

from pipelines.augmentations import Augmentation

none = Augmentation(
    name="none",
    why="the baseline: shows what a net reaches on unchanged images, and how soon it overfits",
    ops=[],
    default=True,
)
