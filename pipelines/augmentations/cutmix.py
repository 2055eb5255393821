"""The standard augmentation with pasted rectangles."""

from pipelines.augmentations import Augmentation
from pipelines.ops import Crop, CutMix, HorizontalFlip

cutmix = Augmentation(
    name="cutmix",
    why="cutout that fills the hole with part of another image",
    reference="Yun et al. 2019, arXiv:1905.04899",
    ops=[Crop(pad=4, padding="reflect"), HorizontalFlip(p=0.5), CutMix(alpha=1.0)],
)
